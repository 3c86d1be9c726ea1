"""Who gets a slot: the waiting list, the slots, and the plan of the next tick. No tensors, no Redis, no clock.

Work is counted in image-steps. Each tick, the jobs are ranked by the work they have left, the least first, minus what
has been served to anybody since they came, times `ageing`: so short jobs go first, and yet everyone's turn comes. Then

1. every job gets one slot, in the order of the ranking, as long as there are slots;
2. what is left goes round the jobs again, one slot each in turn, but only as far as the tick does not become
   `courtesy` times as long as it would be for the first job's images alone. Where a fuller batch costs no time (a GPU)
   all slots are used; where it does (a CPU), a large job does not slow a small one down by more than that.

A job that is alone has all the slots. Who loses a slot is parked and goes on later from where it was.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from worker.trajectory import ImageKey, Trajectory, TrajectoryState


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """The plan of one tick: `steps` steps with each trajectory in its slot. Empty slots are None.

    Invariants: a trajectory is in one slot at most, at least one slot is taken, and no trajectory has fewer steps left
    than that.
    """

    rows: tuple[Trajectory | None, ...]
    steps: int

    @property
    def trajectories(self) -> list[Trajectory]:
        """Those that have a slot, in the order of the slots."""
        return [trajectory for trajectory in self.rows if trajectory is not None]


@dataclasses.dataclass(slots=True)
class _Share:
    """A job's part in the scheduler."""

    arrived: int
    """The clock's reading when the job came."""
    trajectories: list[Trajectory]
    remaining: int
    """Image-steps left over all its trajectories, shared ones included."""


class Scheduler:
    """Plans ticks and keeps the account of what they did.

    Use: `enter` jobs, `plan` a tick, compute it, `commit` it (or not, if it failed: then nothing has happened but the
    taking of slots); `cancel` at any time, also between plan and commit.
    """

    def __init__(
        self,
        slot_counts: Sequence[int],
        step_counts: Sequence[int] = (1,),
        *,
        step_seconds: Callable[[int], float],
        ageing: float = 0.25,
        courtesy: float = 2.0,
        longest_tick: float = 0.05,
    ) -> None:
        """Makes an empty scheduler.

        Args:
            slot_counts: the batch sizes that are compiled; the largest is how many slots there are.
            step_counts: the numbers of steps a tick may have; 1 must be among them.
            step_seconds: slot count -> measured seconds a step.
            ageing: image-steps by which a job's rank improves for each image-step served since it came.
            courtesy: how much longer than for the first job alone a tick may become by others' second images.
            longest_tick: seconds a tick of several steps may last, since who comes meanwhile has to wait for its end.
        """
        if not slot_counts or min(slot_counts) < 1 or 1 not in step_counts:
            raise ValueError(f"no slots, or no tick of one step: {slot_counts}, {step_counts}")
        self._slot_counts = sorted(slot_counts)
        self._step_counts = sorted(step_counts)
        self._step_seconds = step_seconds
        self._ageing = ageing
        self._courtesy = courtesy
        self._longest_tick = longest_tick
        self._shares: dict[str, _Share] = {}
        self._trajectories: dict[ImageKey, Trajectory] = {}
        self._clock = 0

    @property
    def slots(self) -> int:
        """How many trajectories a tick can hold."""
        return self._slot_counts[-1]

    @property
    def jobs(self) -> tuple[str, ...]:
        """Jobs with images to compute, oldest first."""
        return tuple(self._shares)

    @property
    def waiting_jobs(self) -> set[str]:
        """Jobs none of whose images has a slot."""
        return {
            job_id
            for job_id, share in self._shares.items()
            if all(trajectory.slot is None for trajectory in share.trajectories)
        }

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """All that are not finished or canceled; each image is here once, however many jobs want it."""
        return tuple(self._trajectories.values())

    @property
    def remaining_image_steps(self) -> int:
        """The work of all trajectories together."""
        return sum(trajectory.remaining for trajectory in self._trajectories.values())

    def remaining_of(self, job_id: str) -> int:
        """A job's image-steps left, those it shares with others included; 0 for a job that is not here."""
        share = self._shares.get(job_id)
        return share.remaining if share else 0

    def enter(self, job_id: str, images: Iterable[ImageKey]) -> None:
        """Takes a job in, or more images of one that is here. An image that several want is computed once for all.

        Raises:
            ValueError: there is no image.
        """
        keys = dict.fromkeys(images)
        if not keys:
            raise ValueError(f"job {job_id} wants no image")
        share = self._shares.setdefault(job_id, _Share(self._clock, [], 0))
        for key in keys:
            trajectory = self._trajectories.setdefault(key, Trajectory(key))
            if job_id not in trajectory.jobs:
                trajectory.jobs.add(job_id)
                share.trajectories.append(trajectory)
                share.remaining += trajectory.remaining

    def limit_slots(self, slots: int) -> None:
        """Uses no more slots than that from now on, because the device cannot hold more."""
        allowed = [count for count in self._slot_counts if count <= slots]
        self._slot_counts = allowed or self._slot_counts[:1]

    def plan(self) -> Tick | None:
        """The next tick, or None if there is nothing to do. Gives and takes slots; changes nothing else."""
        chosen = self._choose()
        if not chosen:
            return None
        rows: list[Trajectory | None] = [None] * self._slot_count(len(chosen))
        homeless = []
        for trajectory in chosen:
            # Whoever has a slot keeps it: then its image need not move.
            if trajectory.slot is not None and trajectory.slot < len(rows):
                rows[trajectory.slot] = trajectory
            else:
                homeless.append(trajectory)
        free = (slot for slot, row in enumerate(rows) if row is None)
        for trajectory, slot in zip(homeless, free, strict=False):
            rows[slot] = trajectory
        running = set(map(id, chosen))
        for trajectory in self._trajectories.values():
            if trajectory.slot is not None and id(trajectory) not in running:
                trajectory.park()
        for slot, row in enumerate(rows):
            if row is not None:
                row.admit(slot)
        return Tick(tuple(rows), self._steps(chosen, len(rows)))

    def commit(self, tick: Tick) -> list[Trajectory]:
        """Books a tick that was computed; returns the trajectories that it finished. Canceled ones are passed over."""
        finished = []
        for trajectory in tick.trajectories:
            self._clock += tick.steps
            if trajectory.state.is_terminal:
                continue
            trajectory.advance(tick.steps)
            for job_id in trajectory.jobs:
                self._shares[job_id].remaining -= tick.steps
            if trajectory.state is TrajectoryState.FINISHED:
                finished.append(trajectory)
                del self._trajectories[trajectory.key]
                for job_id in trajectory.jobs:
                    share = self._shares[job_id]
                    share.trajectories.remove(trajectory)
                    if not share.trajectories:
                        del self._shares[job_id]
        return finished

    def cancel(self, job_id: str) -> None:
        """Lets a job go, and the slots of those of its images that nobody else wants. No error if it is not here."""
        share = self._shares.pop(job_id, None)
        for trajectory in share.trajectories if share else ():
            trajectory.jobs.discard(job_id)
            if not trajectory.jobs:
                trajectory.cancel()
                del self._trajectories[trajectory.key]

    def _choose(self) -> list[Trajectory]:
        """The trajectories of the next tick, by the rules at the head of this file."""
        ranked = sorted(self._shares.values(), key=self._rank)
        if not ranked:
            return []
        chosen: dict[int, Trajectory] = {}
        own = self._seconds(min(len(ranked[0].trajectories), self.slots))
        wishes = [_in_order(share.trajectories) for share in ranked]
        for turn in range(self.slots):
            for place, wished in enumerate(wishes):
                if turn >= len(wished) or id(wished[turn]) in chosen:  # the latter on behalf of another job
                    continue
                if len(chosen) == self.slots:
                    return list(chosen.values())
                if turn and place and self._seconds(len(chosen) + 1) > self._courtesy * own:
                    continue
                chosen[id(wished[turn])] = wished[turn]
        return list(chosen.values())

    def _rank(self, share: _Share) -> float:
        return share.remaining - self._ageing * (self._clock - share.arrived)

    def _slot_count(self, rows: int) -> int:
        """The smallest compiled batch that holds so many rows."""
        return next(count for count in self._slot_counts if count >= rows)

    def _seconds(self, rows: int) -> float:
        return self._step_seconds(self._slot_count(rows))

    def _steps(self, chosen: list[Trajectory], slot_count: int) -> int:
        """As many as all rows have left and the longest tick allows.

        Also while somebody waits for a slot: none becomes free before the first row is done, where the tick ends. Ticks
        of one step would only make everybody pay for more of them (docs/capacity.md, "Ticks of several steps").
        """
        most = min(trajectory.remaining for trajectory in chosen)
        if (seconds := self._step_seconds(slot_count)) > 0:
            most = min(most, int(self._longest_tick / seconds))
        return max((count for count in self._step_counts if count <= most), default=1)


def _in_order(trajectories: list[Trajectory]) -> list[Trajectory]:
    """Those in slots first, then parked ones, then those not begun: as few images as possible are half done."""
    return sorted(trajectories, key=lambda trajectory: (trajectory.slot is None, trajectory.position == 0))
