"""Workers that share a queue, in virtual time: the scheduler is the real one, only the ticks are not computed.

What is like the product: each worker has a `worker.scheduler.Scheduler`; it takes jobs from the queue as
`worker.batch_worker` does, from the front, up to the number that it holds at a time, and no more at once than its part;
who has nothing to do gets the next job at once, the one that has waited longest first; else it goes to any of those
that have room, since all of them look every few milliseconds. A job stays with its worker. What is not: nothing fails,
and a tick takes exactly as long as the description of the hardware says.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections import deque
from collections.abc import Sequence

from benchmarks.serve_figures import JobTimes, TickRecord
from benchmarks.serve_policies import SchedulerMaker
from benchmarks.serve_trace import Arrival
from benchmarks.simulation_hardware import Hardware
from worker.scheduler import Scheduler, Tick
from worker.trajectory import ImageKey

_TAKEN_AT_ONCE = 32
_HELD_A_SLOT = 4


@dataclasses.dataclass(frozen=True)
class SimulatedRun:
    """What happened: the times of each job of the trace, in its order, and all ticks, earliest first."""

    jobs: list[JobTimes]
    ticks: list[TickRecord]

    @property
    def end(self) -> float:
        """When the last job was done."""
        return max(job.finished for job in self.jobs)


@dataclasses.dataclass(eq=False)
class _Worker:
    number: int
    scheduler: Scheduler
    held: set[int] = dataclasses.field(default_factory=set)
    tick: Tick | None = None


class _Open:
    """The busy workers that have room for more jobs; any of them can be drawn, or leave, in no time."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._places: dict[_Worker, int] = {}

    def add(self, worker: _Worker) -> None:
        if worker not in self._places:
            self._places[worker] = len(self._workers)
            self._workers.append(worker)

    def remove(self, worker: _Worker) -> None:
        if (place := self._places.pop(worker, None)) is not None:
            last = self._workers.pop()
            if last is not worker:
                self._workers[place] = last
                self._places[last] = place

    def draw(self, generator: random.Random) -> _Worker | None:
        return self._workers[generator.randrange(len(self._workers))] if self._workers else None


class Simulation:
    """One run of a trace. `run` may be called once."""

    def __init__(
        self,
        trace: Sequence[Arrival],
        make_scheduler: SchedulerMaker,
        hardware: Hardware,
        *,
        workers: int = 1,
        jobs_held: int | None = None,
        seed: int = 0,
    ) -> None:
        """Makes one.

        Args:
            trace: what arrives; in the order of its coming.
            make_scheduler: the policy; see serve_policies.
            hardware: that of every worker.
            workers: how many share the queue.
            jobs_held: jobs a worker has begun at a time; None is the product's default, four a slot.
            seed: which of the workers with room gets a job.
        """
        self._trace = trace
        self._hardware = hardware
        self._jobs_held = jobs_held or _HELD_A_SLOT * hardware.slots
        self._random = random.Random(seed)
        self._workers = [
            _Worker(number, make_scheduler(hardware.slot_counts, hardware.step_counts, step_seconds=hardware.seconds))
            for number in range(workers)
        ]
        self._idle = deque(self._workers)
        self._open = _Open()
        self._queue: deque[int] = deque()
        self._ends: list[tuple[float, int, _Worker]] = []
        self._images_left = [arrival.count for arrival in trace]
        self._admitted = [math.nan] * len(trace)
        self._finished = [math.nan] * len(trace)
        self._ticks: list[TickRecord] = []

    def run(self) -> SimulatedRun:
        """Runs until all jobs are done."""
        arrivals = iter(enumerate(self._trace))
        coming = next(arrivals, None)
        while coming is not None or self._ends:
            if coming is not None and (not self._ends or coming[1].at <= self._ends[0][0]):
                number, arrival = coming
                self._arrive(number, arrival.at)
                coming = next(arrivals, None)
            else:
                now, _, worker = heapq.heappop(self._ends)
                self._end_tick(worker, now)
        jobs = [
            JobTimes(arrival.at, admitted, finished, arrival.is_short, arrival.count)
            for arrival, admitted, finished in zip(self._trace, self._admitted, self._finished, strict=True)
        ]
        return SimulatedRun(jobs, self._ticks)

    def _arrive(self, number: int, now: float) -> None:
        if self._idle:
            worker = self._idle.popleft()
            self._enter(worker, number)
            self._begin_tick(worker, now)
        elif (busy := self._open.draw(self._random)) is not None:
            self._enter(busy, number)
        else:
            self._queue.append(number)

    def _enter(self, worker: _Worker, number: int) -> None:
        arrival = self._trace[number]
        worker.held.add(number)
        keys = [ImageKey(arrival.seed + image, arrival.steps) for image in range(arrival.count)]
        worker.scheduler.enter(str(number), keys)
        self._note_room(worker)

    def _begin_tick(self, worker: _Worker, now: float) -> None:
        tick = worker.tick = worker.scheduler.plan()
        if tick is None:
            self._open.remove(worker)
            self._idle.append(worker)
            return
        taken = 0
        for trajectory in tick.trajectories:
            taken += 1
            if trajectory.position == 0:
                for job_id in trajectory.jobs:
                    if math.isnan(self._admitted[int(job_id)]):
                        self._admitted[int(job_id)] = now
        self._note_room(worker)
        slots = len(tick.rows)
        computed = self._hardware.seconds(slots) * tick.steps
        self._ticks.append(TickRecord(now, computed, slots, taken, tick.steps, worker.number))
        end = now + self._hardware.tick_seconds(slots, tick.steps)
        heapq.heappush(self._ends, (end, len(self._ticks), worker))

    def _end_tick(self, worker: _Worker, now: float) -> None:
        assert worker.tick is not None
        for trajectory in worker.scheduler.commit(worker.tick):
            for number in map(int, trajectory.jobs):
                self._images_left[number] -= 1
                if not self._images_left[number]:
                    self._finished[number] = now + self._hardware.job_delay
                    worker.held.remove(number)
        room = self._jobs_held - len(worker.held)
        part = math.ceil(len(self._queue) / len(self._workers))
        for _ in range(min(room, part, _TAKEN_AT_ONCE)):
            self._enter(worker, self._queue.popleft())
        self._begin_tick(worker, now)

    def _note_room(self, worker: _Worker) -> None:
        if len(worker.held) < self._jobs_held:
            self._open.add(worker)
        else:
            self._open.remove(worker)
