"""Which images of a tick are shown to those who watch: not too many, each in its turn. No pixels, no Redis.

Only watched jobs are looked at. Of each, at most ten previews a second are made, and forty a second in all, since every
one is a PNG that the processor has to encode beside the ticks.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import Final

from worker.trajectory import ImageKey, Trajectory, TrajectoryState

PREVIEWS_A_SECOND: Final = 10
"""Of one job."""

_PREVIEWS_A_SECOND_IN_ALL: Final = 40


@dataclasses.dataclass(frozen=True, slots=True)
class Shot:
    """A preview to be made: of a trajectory as predicted in the tick; without one, of the image in the store."""

    job_id: str
    key: ImageKey
    steps_done: int
    trajectory: Trajectory | None


class Pace:
    """Lets at most `most` pass in any one second, spread over it. `now` is in seconds; that clock never goes back."""

    def __init__(self, most: int) -> None:
        self._interval = 1.0 / most
        self._passed: collections.deque[float] = collections.deque(maxlen=most)
        self._most = most

    @property
    def last(self) -> float:
        """When something passed last; minus infinity if nothing has."""
        return self._passed[-1] if self._passed else float("-inf")

    def room(self, now: float) -> int:
        """How many may pass now: one for each interval since the last."""
        recent = sum(now - moment < 1.0 for moment in self._passed)
        if not recent:
            return 1 if not self._passed else self._most
        return min(self._most - recent, int((now - self.last) / self._interval + 1e-6))

    def let_pass(self, now: float) -> None:
        self._passed.append(now)


class _Watched:
    """A job that is watched: its pace, its finished images still to be shown, and when each image was shown last."""

    def __init__(self) -> None:
        self.pace = Pace(PREVIEWS_A_SECOND)
        self.finished: dict[ImageKey, None] = {}
        self.shown_whole: set[ImageKey] = set()
        self.shown_at: dict[ImageKey, float] = {}


class PreviewPlan:
    """Knows who is watched, and chooses what to show."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Watched] = {}
        self._pace = Pace(_PREVIEWS_A_SECOND_IN_ALL)

    @property
    def is_idle(self) -> bool:
        """Whether nobody watches anything."""
        return not self._jobs

    def watch(self, job_ids: Iterable[str]) -> list[str]:
        """Shows these jobs and no others from now on; returns those that were not shown before."""
        wanted = set(job_ids)
        new = [job_id for job_id in sorted(wanted) if job_id not in self._jobs]
        self._jobs = {job_id: self._jobs.get(job_id) or _Watched() for job_id in wanted}
        return new

    def finish(self, job_id: str, key: ImageKey) -> None:
        """Notes that an image is in the store, and so is to be shown as it is there, if that has not been done."""
        job = self._jobs.get(job_id)
        if job is not None and key not in job.shown_whole and _has_previews(key):
            job.finished[key] = None

    def choose(self, trajectories: Iterable[Trajectory], now: float) -> list[Shot]:
        """The previews to make of a tick, those of the job that has waited longest first.

        Args:
            trajectories: those that the tick advanced.
            now: see Pace.
        """
        shots: list[Shot] = []
        advanced = [
            row
            for row in trajectories
            if row.position and row.state is not TrajectoryState.CANCELED and _has_previews(row.key)
        ]
        room_for_all = self._pace.room(now)
        for job_id, job in sorted(self._jobs.items(), key=lambda item: item[1].pace.last):
            room = min(job.pace.room(now), room_for_all - len(shots))
            for shot in self._candidates(job_id, job, advanced)[:room]:
                self._note(job, shot, now)
                shots.append(shot)
        return shots

    def _candidates(self, job_id: str, job: _Watched, advanced: list[Trajectory]) -> list[Shot]:
        """Finished images first, then those that were shown longest ago."""
        stored = [Shot(job_id, key, key.last_step, None) for key in job.finished]
        rows = [row for row in advanced if job_id in row.jobs and row.key not in job.shown_whole]
        rows.sort(key=lambda row: (row.remaining > 0, job.shown_at.get(row.key, float("-inf")), row.key))
        return stored + [Shot(job_id, row.key, row.position, row) for row in rows if row.key not in job.finished]

    def _note(self, job: _Watched, shot: Shot, now: float) -> None:
        job.pace.let_pass(now)
        self._pace.let_pass(now)
        job.finished.pop(shot.key, None)
        job.shown_at[shot.key] = now
        if shot.steps_done == shot.key.last_step:
            job.shown_whole.add(shot.key)


def _has_previews(key: ImageKey) -> bool:
    """Not those of a morph: a preview says its seed, and does not know of images between two."""
    return key.form == "png"
