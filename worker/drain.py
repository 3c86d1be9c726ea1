"""What a worker that is asked to stop still finishes, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CAUTION: Final = 0.8
"""Share of the limit that is planned with, since a rate is an average."""


def jobs_to_finish(remaining: Mapping[str, int], seconds: float, image_steps_per_second: float) -> set[str]:
    """The jobs that can be done in time, counting the shortest first.

    Args:
        remaining: job id -> image-steps left.
        seconds: time left.
        image_steps_per_second: the worker's rate.

    Returns:
        ids of jobs whose work, one after the other, fits into the time.
    """
    budget = seconds * _CAUTION * image_steps_per_second
    chosen = set()
    for job_id, image_steps in sorted(remaining.items(), key=lambda item: item[1]):
        budget -= image_steps
        if budget < 0:
            break
        chosen.add(job_id)
    return chosen
