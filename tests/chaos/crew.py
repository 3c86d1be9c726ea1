"""The workers of a chaos run: so many places, in each of which a worker is started again when it has ended."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.chaos.breakable_worker import ORDERS_VARIABLE
from tests.nursery import Nursery
from tests.worker_process import ROOT, WorkerProcess

_LONGEST_START: Final = 120.0


@dataclasses.dataclass(slots=True)
class Worker:
    """A worker that was started; `name` is its alone among all of the run."""

    place: int
    name: str
    process: WorkerProcess
    order: Path
    started_at: float
    ready: bool = False
    doomed: bool = False
    """Whether a fault has it in hand: then it may end, and no other fault takes it."""
    code: int | None = None
    """How it ended, as subprocess.Popen says it."""


class Crew:
    """Keeps workers running. `troubles` gets a line for each that ended though nobody did anything to it."""

    def __init__(self, folder: Path, environment: dict[str, str], places: int, *, fresh: bool) -> None:
        """Prepares the crew; `fresh` workers are started by `python -m`, the others forked off a nursery."""
        self._folder = folder
        self._environment = environment
        self._nursery: Nursery | None = None
        if not fresh:
            self._nursery = Nursery("tests.chaos.nursery", os.environ.get("KERAS_BACKEND", "tensorflow"))
        self._places: list[Worker | None] = [None] * places
        self.all: list[Worker] = []
        self.troubles: list[str] = []

    @property
    def running(self) -> list[Worker]:
        """Those that were running when `tend` last looked."""
        return [worker for worker in self._places if worker is not None]

    @property
    def free(self) -> list[Worker]:
        """Those that are ready, and that no fault has in hand."""
        return [worker for worker in self.running if worker.ready and not worker.doomed]

    def tend(self, ready_keys: list[bytes], *, start: bool = True) -> None:
        """Notes who has ended and who is ready, and fills the empty places."""
        for place, worker in enumerate(self._places):
            if worker is not None:
                worker.code = worker.process.process.poll()
                if worker.code is not None:
                    self._places[place] = None
                    if not worker.doomed:
                        self.troubles.append(f"{worker.name} ended by itself with {worker.code}: {_last_line(worker)}")
                elif not worker.ready:
                    worker.ready = any(f":{worker.name}-".encode() in key for key in ready_keys)
                    if not worker.ready and time.monotonic() - worker.started_at > _LONGEST_START:
                        self.troubles.append(f"{worker.name} was not ready in time: {_last_line(worker)}")
                        self.end(worker)
            if self._places[place] is None and start:
                self._places[place] = self._start(place)

    def end(self, worker: Worker) -> None:
        """Kills a worker."""
        worker.doomed = True
        worker.process.send(signal.SIGKILL)

    def stop(self, seconds: float) -> None:
        """Stops all in order; whoever does not stop in time is a trouble."""
        running = self.running
        for worker in running:
            worker.doomed = True
            worker.process.send(signal.SIGTERM)
        for worker in running:
            try:
                code = worker.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.troubles.append(f"{worker.name} did not stop within {seconds:.0f} s: {_last_line(worker)}")
                continue
            if code != 0 and worker.ready:  # the others were not yet born, so to speak
                self.troubles.append(f"{worker.name} stopped with {code}: {_last_line(worker)}")

    def close(self) -> None:
        """Ends all that is left."""
        for worker in self.running:
            worker.process.close()
        if self._nursery is not None:
            self._nursery.close()

    def _start(self, place: int) -> Worker:
        name = f"w{place}x{len(self.all)}"
        log, order = self._folder / f"{name}.log", self._folder / f"{name}.order"
        environment = self._environment | {ORDERS_VARIABLE: str(order)}
        if self._nursery is not None:
            process = WorkerProcess(name, log, self._nursery.start(["--name", name], environment, log))
        else:
            with log.open("ab") as output:
                command = [sys.executable, "-m", "tests.chaos.breakable_worker", "--name", name]
                fresh = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=os.environ | environment,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            process = WorkerProcess(name, log, fresh)
        worker = Worker(place, name, process, order, time.monotonic())
        self.all.append(worker)
        return worker


def _last_line(worker: Worker) -> str:
    return (worker.process.tail().strip().splitlines() or ["nothing in its log"])[-1]
