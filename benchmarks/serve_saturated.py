"""What a worker does at most: the rate of its ticks while somebody always waits, beside that of the bare sampler."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import time
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from benchmarks.serve_client import MeasuredRun
from benchmarks.serve_figures import TickRecord, mean_fill, mean_step_seconds, tick_overhead
from benchmarks.simulation_hardware import Hardware
from benchmarks.subject import trajectory_rows
from model.bundle import Bundle
from model.sampling import Sampler

_PIECE_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Saturated:
    """An arm under a backlog, while jobs still wait for their first slot: what comes after has not enough to do."""

    ticks: list[TickRecord]
    seconds: float

    @classmethod
    def of(cls, run: MeasuredRun) -> Saturated:
        """The part of a run with everything posted before it began."""
        end = max(job.admitted for job in run.jobs)
        ticks = [tick for tick in run.ticks if run.start <= tick.began < end]
        return cls(ticks, end - ticks[0].began)

    @property
    def image_steps_per_second(self) -> float:
        return sum(tick.image_steps for tick in self.ticks) / self.seconds

    @property
    def fill(self) -> float:
        return mean_fill(self.ticks)

    def share_of_bare(self, bare: Mapping[int, float]) -> float:
        """The time in which the bare sampler runs the same batches (slot count -> seconds a step), by that it took."""
        return sum(bare[tick.slots] * tick.steps for tick in self.ticks) / self.seconds


class BareSampler:
    """The network alone: no queue, no scheduler, nobody joins or leaves. Measured in pieces, between other things."""

    def __init__(self, bundle: Bundle, slot_counts: Sequence[int]) -> None:
        self._sampler = Sampler(bundle)
        self._rates = trajectory_rows(bundle, 0, 1)[:, None]
        self._images = {
            count: np.zeros((count, bundle.image_size, bundle.image_size, 3), np.float32) for count in slot_counts
        }
        self._seconds: dict[int, list[float]] = {count: [] for count in slot_counts}
        for count in slot_counts:  # compiles
            self._steps(count, 2)

    def measure(self, pieces: int = 3) -> None:
        """Adds so many pieces of a fraction of a second for each slot count, in turns."""
        for _, count in itertools.product(range(pieces), self._images):
            steps = max(1, int(_PIECE_SECONDS / self._steps(count, 1)))
            self._seconds[count].append(self._steps(count, steps) / steps)

    def step_seconds(self) -> dict[int, float]:
        """Slot count -> seconds a step, the median of the pieces."""
        return {count: statistics.median(seconds) for count, seconds in self._seconds.items()}

    def _steps(self, count: int, steps: int) -> float:
        images, rates = self._images[count], np.repeat(self._rates, count, axis=1)
        predicted = images
        began = time.perf_counter()
        for _ in range(steps):
            images, predicted = self._sampler.advance(images, predicted, rates)
        keras.ops.convert_to_numpy(images)
        return time.perf_counter() - began


def measured_hardware(name: str, arms: Sequence[Saturated], bare: Mapping[int, float], delay: float) -> list[Hardware]:
    """This machine under the service, for each arm: step times from the ticks of all, each arm's own overhead.

    Slot counts that were used too seldom take as much longer than with the bare sampler as the others do.
    """
    known = mean_step_seconds(tick for arm in arms for tick in arm.ticks)
    slower = statistics.median([known[slots] / bare[slots] for slots in known]) if known else 1.0
    step_seconds = {slots: known.get(slots, bare[slots] * slower) for slots in bare}
    return [Hardware(name, step_seconds, tick_overhead=tick_overhead(arm.ticks), job_delay=delay) for arm in arms]
