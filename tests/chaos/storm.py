"""Carries the faults of the plan out. Each is a generator that is asked again and again, and yields while it lasts."""

from __future__ import annotations

import collections
import dataclasses
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.tether import Tether
from app.valkey import EmbeddedValkey
from tests.chaos.client import Client, Post
from tests.chaos.crew import Crew, Worker
from tests.chaos.plan import Fault, FaultKind
from tests.chaos.recovery import Recoveries

_AT_ONCE: Final = 3
_POINT_PATIENCE: Final = 15.0

Steps = Iterator[None]


@dataclasses.dataclass(frozen=True, slots=True)
class Leases:
    """A worker's settings of time, in seconds; see worker/settings.py."""

    lease: int
    beat: float
    maintenance: float
    drain: float
    store: float

    @property
    def environment(self) -> dict[str, str]:
        values = {"LEASE": self.lease, "BEAT": self.beat, "MAINTENANCE": self.maintenance, "DRAIN": self.drain}
        return {f"BOUQUET_{name}_SECONDS": str(value) for name, value in (values | {"STORE": self.store}).items()}


class Queue:
    """The Valkey of the run: production's own, with its append-only file."""

    def __init__(self, home: Path) -> None:
        self._valkey = EmbeddedValkey(home, Tether())
        self.url = self._valkey.url
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def answers(self) -> bool:
        return self._process is not None and self._valkey.is_ready()

    def start(self) -> None:
        self._process = self._valkey.spawn()

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


class Store:
    """The folder of the images, which can be taken away in one step: its name is a link."""

    def __init__(self, folder: Path) -> None:
        self.link = folder / "images"
        self.folder = folder / "images.real"
        self._nothing = folder / "images.not-a-folder"
        self.folder.mkdir()
        self._nothing.write_text("a store that cannot be written, not even by root")
        self.link.symlink_to(self.folder)

    def point_to(self, *, folder: bool) -> None:
        new = self.link.with_suffix(".new")
        new.symlink_to(self.folder if folder else self._nothing)
        new.replace(self.link)


class Storm:
    """The faults of a run, several at a time."""

    def __init__(
        self, faults: list[Fault], crew: Crew, client: Client, queue: Queue, store: Store, leases: Leases
    ) -> None:
        self._faults = collections.deque(faults)
        self._crew, self._client, self._queue, self._store = crew, client, queue, store
        self._leases = leases
        self._active: list[tuple[Fault, Steps]] = []
        self.recoveries = Recoveries()
        self.struck: collections.Counter[FaultKind] = collections.Counter()
        self.points: collections.Counter[str] = collections.Counter()
        self.stops: list[float] = []
        """Seconds that workers took to end after SIGTERM."""
        self.troubles: list[str] = []
        self.queue_is_away = False
        self.store_outages: list[tuple[float, float]] = []

    @property
    def is_over(self) -> bool:
        return not self._faults and not self._active

    @property
    def left(self) -> int:
        return len(self._faults)

    def go_on(self, share: float) -> None:
        """Begins what is due when this share of the run is done, and goes on with what lasts."""
        if self._faults and self._faults[0].at <= share and len(self._active) < _AT_ONCE:
            fault = self._faults[0]
            if (steps := self._begin(fault)) is not None:
                self._faults.popleft()
                self._active.append((fault, steps))
        self._active = [(fault, steps) for fault, steps in self._active if next(steps, self) is not self]
        self.recoveries.look(queue_is_away=self.queue_is_away)

    def _begin(self, fault: Fault) -> Steps | None:
        """The fault's steps, or None if it has to wait: for a worker that is free, or for the end of its like."""
        kind = fault.kind
        if kind in (FaultKind.QUEUE_KILL, FaultKind.QUEUE_AWAY):
            if self.queue_is_away:
                return None
            return self._kill_queue(fault) if kind is FaultKind.QUEUE_KILL else self._freeze_queue(fault)
        if kind is FaultKind.STORE_AWAY:
            away = any(active.kind is kind for active, _ in self._active)
            return None if away else self._take_store_away(fault)
        if not (free := self._crew.free):
            return None
        worker = free[int(fault.whom * len(free))]
        worker.doomed = True
        match kind:
            case FaultKind.KILL:
                return self._kill(fault, worker)
            case FaultKind.KILL_AT:
                return self._kill_at(fault, worker)
            case FaultKind.FREEZE:
                return self._freeze(fault, worker)
            case _:
                return self._stop(fault, worker)

    def _kill(self, fault: Fault, worker: Worker) -> Steps:
        worker.process.send(signal.SIGKILL)
        yield from self._mourn(worker, fault.kind)

    def _kill_at(self, fault: Fault, worker: Worker) -> Steps:
        worker.order.write_text(fault.point)
        stopping = fault.point == "giving-back"
        if stopping:
            worker.process.send(signal.SIGTERM)
        gives_up = time.monotonic() + _POINT_PATIENCE
        while worker.code is None and time.monotonic() < gives_up:
            yield
        if worker.code is None:
            worker.process.send(signal.SIGKILL)
        elif worker.code == -signal.SIGKILL:
            self.points[fault.point] += 1
        elif stopping and worker.code == 0:  # it had nothing to give back
            self.struck[FaultKind.TERM] += 1
            return
        yield from self._mourn(worker, fault.kind)

    def _mourn(self, worker: Worker, kind: FaultKind) -> Steps:
        """Books a SIGKILL: which jobs were left behind is read as soon as the queue answers."""
        at = time.monotonic()
        while worker.code is None:
            yield
        self.struck[kind] += 1
        disturbed = False
        while not self._client.look():
            disturbed = True
            yield
        held = self._held_by(worker)
        stranded = [post for post in self._client.in_flight if post.stranded and post not in held]
        self._count_deaths(self._client.in_flight if disturbed else held)
        self.recoveries.begin(worker.name, at, held + stranded, disturbed=disturbed)

    def _stop(self, fault: Fault, worker: Worker) -> Steps:
        began = time.monotonic()
        worker.process.send(signal.SIGTERM)
        again = began + 1.2 + fault.length if fault.kind is FaultKind.TERM_TWICE else None
        # Beyond the drain: a tick, signing off, and a queue that may be away.
        gives_up = began + self._leases.drain + 2 * self._leases.lease + 30
        while worker.code is None and time.monotonic() < gives_up:
            if again is not None and time.monotonic() > again:
                again = None
                worker.process.send(signal.SIGTERM)
            yield
        if worker.code is None:
            self.troubles.append(f"{worker.name} did not end within {gives_up - began:.0f} s of a SIGTERM")
            worker.process.send(signal.SIGKILL)
            yield from self._mourn(worker, FaultKind.KILL)
            return
        self.struck[fault.kind] += 1
        self.stops.append(time.monotonic() - began)
        if worker.code != 0:
            self.troubles.append(f"{worker.name} ended with {worker.code} after a SIGTERM")

    def _freeze(self, fault: Fault, worker: Worker) -> Steps:
        worker.process.send(signal.SIGSTOP)
        self.struck[fault.kind] += 1
        ends = time.monotonic() + self._leases.lease * (1.2 + fault.length)
        self._client.look()
        held = self._held_by(worker)
        while time.monotonic() < ends:
            yield
            if self._client.look():
                held += [post for post in self._held_by(worker) if post not in held]
        self._count_deaths(held)
        worker.process.send(signal.SIGCONT)
        worker.doomed = False

    def _kill_queue(self, fault: Fault) -> Steps:
        self.queue_is_away = True
        self._queue.end(signal.SIGKILL)
        ends = time.monotonic() + 3.0 * fault.length
        while time.monotonic() < ends:
            yield
        self._queue.start()
        while not self._queue.answers:
            yield
        self.struck[fault.kind] += 1
        self.queue_is_away = False

    def _freeze_queue(self, fault: Fault) -> Steps:
        self.queue_is_away = True
        self._queue.send(signal.SIGSTOP)
        ends = time.monotonic() + self._leases.lease * (0.5 + 1.5 * fault.length)
        while time.monotonic() < ends:
            yield
        self._queue.send(signal.SIGCONT)
        while not self._queue.answers:
            yield
        self.struck[fault.kind] += 1
        self.queue_is_away = False

    def _take_store_away(self, fault: Fault) -> Steps:
        began = time.monotonic()
        self._store.point_to(folder=False)
        # Half of the times no longer than the workers' patience with a store.
        ends = began + self._leases.store * (fault.length + 0.2 if fault.length < 0.5 else 2 * fault.length + 0.5)
        while time.monotonic() < ends:
            yield
        self._store.point_to(folder=True)
        self.struck[fault.kind] += 1
        self.store_outages.append((began, time.monotonic()))

    def _held_by(self, worker: Worker) -> list[Post]:
        prefix = f"{worker.name}-".encode()
        return [
            post
            for post in self._client.in_flight
            if post.status == b"started" and post.worker_name is not None and post.worker_name.startswith(prefix)
        ]

    @staticmethod
    def _count_deaths(posts: list[Post]) -> None:
        for post in posts:
            post.deaths += 1
