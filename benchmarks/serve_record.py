"""A record of every tick that a worker runs, for whoever measures it from outside: a line of text each."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serve_figures import TickRecord
from worker.engine import Engine, Outcome
from worker.scheduler import Tick


class RecordingEngine(Engine):
    """The product's engine, which writes down its ticks: some ten microseconds each, beside milliseconds."""

    def __init__(self, path: Path, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file = path.open("w", buffering=1, encoding="ascii")

    def run(self, tick: Tick) -> Outcome:
        beginners = [trajectory for trajectory in tick.trajectories if trajectory.position == 0]
        jobs = {job_id for trajectory in beginners for job_id in tuple(trajectory.jobs)}
        began = time.time()
        outcome = super().run(tick)
        rows = f"{len(tick.rows)} {len(tick.trajectories)} {tick.steps}"
        self._file.write(f"{began:.6f} {outcome.seconds:.6f} {rows} {','.join(jobs)}\n")
        return outcome

    def close(self) -> None:
        """Ends the record."""
        self._file.close()


def recording_engine(path: Path) -> Callable[..., RecordingEngine]:
    """Makes engines that write to a file."""
    return lambda *arguments, **options: RecordingEngine(path, *arguments, **options)


class TickLog:
    """The reader's side: what has been written since it was asked last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> tuple[list[TickRecord], dict[str, float]]:
        """The ticks, on the clock of `time.time`; and for the jobs that got their first slot, when that was."""
        with self._path.open(encoding="ascii") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._offset += len(whole)
        ticks: list[TickRecord] = []
        admitted: dict[str, float] = {}
        for line in whole.splitlines():
            began, seconds, slots, taken, steps, *jobs = line.split(" ")
            ticks.append(TickRecord(float(began), float(seconds), int(slots), int(taken), int(steps)))
            for job_id in filter(None, jobs[0].split(",")):
                admitted.setdefault(job_id, float(began))
        return ticks, admitted
