"""Fair timing on a noisy machine: all arms take turns, and medians are compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(arms: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of each arm; round by round all arms run once, so that a slow spell hits all of them.

    The first round warms up and is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, run in arms.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}
