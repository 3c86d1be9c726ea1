"""Who may run: the product's scheduler, and the two ways of batching that it is compared with.

All three are worker.scheduler.Scheduler at work on the same engine. The two others have a gate before it: jobs wait in
front of it, and the gate opens only when nothing runs any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from worker.scheduler import Scheduler, Tick
from worker.trajectory import ImageKey

ONE, BATCHES, CONTINUOUS = "one", "batches", "continuous"
ARMS = {
    ONE: "one job at a time",
    BATCHES: "request-level batches",
    CONTINUOUS: "continuous batching",
}
"""What is compared, with names for people."""

Gate = Callable[[Mapping[str, int], int], list[str]]
"""From the jobs that wait, oldest first, with the number of their images, and the number of slots: who comes next."""


class SchedulerMaker(Protocol):
    """Makes a scheduler, like the class itself."""

    def __call__(
        self, slot_counts: Sequence[int], step_counts: Sequence[int] = (1,), *, step_seconds: Callable[[int], float]
    ) -> Scheduler: ...


def first_job(waiting: Mapping[str, int], slots: int) -> list[str]:
    """The oldest job, alone; its images share the slots."""
    return list(waiting)[:1]


def fullest_batch(waiting: Mapping[str, int], slots: int) -> list[str]:
    """The oldest job, and of the others, oldest first, all whose images still fit into the slots."""
    chosen: list[str] = []
    room = slots
    for job_id, images in waiting.items():
        if not chosen or images <= room:
            chosen.append(job_id)
            room -= images
    return chosen


class GatedScheduler(Scheduler):
    """A scheduler that lets nobody in while somebody runs.

    It is kind to what it stands for. An image that is done is delivered at once, though its batch goes on, and the
    batch shrinks to the smallest size that is compiled for the images left, rather than carrying the finished ones
    along to its end. What it cannot do is let somebody in.
    """

    def __init__(
        self,
        slot_counts: Sequence[int],
        step_counts: Sequence[int] = (1,),
        *,
        step_seconds: Callable[[int], float],
        gate: Gate,
    ) -> None:
        # Whoever has been let in gets a slot, whatever that costs the first: hence no limit of courtesy.
        super().__init__(slot_counts, step_counts, step_seconds=step_seconds, courtesy=math.inf)
        self._gate = gate
        self._gated: dict[str, list[ImageKey]] = {}

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*super().jobs, *self._gated)))

    @property
    def remaining_image_steps(self) -> int:
        return super().remaining_image_steps + sum(map(_image_steps, self._gated.values()))

    def remaining_of(self, job_id: str) -> int:
        return super().remaining_of(job_id) + _image_steps(self._gated.get(job_id, ()))

    def enter(self, job_id: str, images: Iterable[ImageKey]) -> None:
        self._gated.setdefault(job_id, []).extend(images)

    def plan(self) -> Tick | None:
        if not super().trajectories:
            for job_id in self._gate({job_id: len(keys) for job_id, keys in self._gated.items()}, self.slots):
                super().enter(job_id, self._gated.pop(job_id))
        return super().plan()

    def cancel(self, job_id: str) -> None:
        self._gated.pop(job_id, None)
        super().cancel(job_id)


def scheduler_maker(arm: str) -> SchedulerMaker:
    """Makes schedulers of an arm. Raises KeyError for an arm that there is not."""
    if arm == CONTINUOUS:
        return Scheduler
    gate = {ONE: first_job, BATCHES: fullest_batch}[arm]

    def make(
        slot_counts: Sequence[int], step_counts: Sequence[int] = (1,), *, step_seconds: Callable[[int], float]
    ) -> Scheduler:
        return GatedScheduler(slot_counts, step_counts, step_seconds=step_seconds, gate=gate)

    return make


def _image_steps(keys: Iterable[ImageKey]) -> int:
    return sum(key.steps for key in keys)
