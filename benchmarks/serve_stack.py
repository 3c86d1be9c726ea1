"""A service to measure: queue, front end and one worker of an arm, as processes of their own in a home of their own."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import redis
from rq import Queue, Worker
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from app.valkey import answers as queue_answers
from app.valkey import socket_url
from benchmarks.serve_policies import CONTINUOUS
from benchmarks.serve_record import TickLog
from benchmarks.simulation_hardware import write_step_seconds
from benchmarks.stack import Part, answers, free_port, wait_until
from worker.protocol import QUEUE_NAME, READY_KEY_PATTERN

_CONNECTIONS = 16


class ArmWorker(Part):
    """`python -m benchmarks.serve_worker` as a process."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        super().__init__("worker", home, BOUQUET_HOME=str(home), BOUQUET_REDIS_URL=socket_url(home), **environment)
        self._command = [sys.executable, "-m", "benchmarks.serve_worker", *options]


class Service:
    """Starts with the block and ends with it; ready after `wait`."""

    def __init__(
        self,
        home: Path,
        *,
        arm: str = CONTINUOUS,
        bundle: Path | None = None,
        slots: int | None = None,
        instant: bool = False,
        pace: Mapping[int, float] | None = None,
        front_end: bool = True,
        processes: int = 1,
        worker: bool = True,
    ) -> None:
        """Makes a service that has not been started.

        Args:
            home: an empty folder.
            arm: the worker's scheduler; see serve_policies.
            bundle: what is served; None is the bundle that ships.
            slots: BOUQUET_SLOTS.
            instant: a network that costs nothing.
            pace: instead, one that sleeps: seconds a step for each slot count.
            front_end: whether there is an HTTP API.
            processes: of the API.
            worker: whether there is a worker.
        """
        self._home = home
        self._port = free_port()
        options = ["--arm", arm, "--ticks", str(home / "ticks")] + ["--instant"] * instant
        if pace is not None:
            options += ["--pace", write_step_seconds(pace)]
        environment = {"BOUQUET_SLOTS": str(slots)} if slots else {}
        if bundle is not None:
            environment["BOUQUET_BUNDLE"] = str(bundle.resolve())
        self._front_end, self._worker = front_end, worker
        self._parts: dict[str, Part] = {}
        if front_end:  # full is what the benchmark says, not the queue
            command, more = "api", []
            if processes > 1:
                command, more = "serve", ["--workers", "0", "--api-processes", str(processes)]
            environment = {"BOUQUET_QUEUE_LIMIT": str(10**9), "BOUQUET_REDIS_URL": socket_url(home)}
            self._parts["api"] = Part(command, home, "--port", str(self._port), *more, **environment)
        if worker:
            self._parts["worker"] = ArmWorker(home, *options, **environment)

    def __enter__(self) -> Self:
        self._home.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(Part("redis", self._home))
            wait_until(lambda: queue_answers(self._home))
            self.connection = stack.enter_context(redis.Redis.from_url(socket_url(self._home)))
            self.queue = Queue(QUEUE_NAME, connection=self.connection, serializer=JSONSerializer)
            for part in self._parts.values():
                stack.enter_context(part)
            self.client = stack.enter_context(
                httpx.Client(base_url=self.url, timeout=120.0, limits=httpx.Limits(max_connections=_CONNECTIONS))
            )
            self.ticks = TickLog(self._home / "ticks")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        """Of the front end."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Of the front end, on the loopback address."""
        return self._port

    def wait(self) -> None:
        """Returns when all parts are ready."""
        if self._worker:
            wait_until(lambda: any(True for _ in self.connection.scan_iter(READY_KEY_PATTERN)))
        if self._front_end:
            wait_until(lambda: answers(f"{self.url}/health/live"))

    def cpu_seconds(self, part: str) -> float:
        """Processor time that `api` or `worker` has used, on all cores together: what a busy machine leaves alone.

        With its child processes. NaN where there is no /proc.
        """
        process = self._parts[part].pid
        try:
            children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
            return sum(_cpu_seconds(one) for one in (str(process), *children))
        except OSError:
            return math.nan

    def resident_mib(self, part: str) -> float:
        """Resident memory of `api` or `worker` in MiB."""
        return self._parts[part].resident_mib()

    def queue_cpu_seconds(self) -> float:
        """Processor time that the queue's server has used."""
        info = self.connection.info("cpu")
        return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])

    def suspend(self) -> None:
        """Lets the worker take no jobs; it has none now. Returns when it knows."""
        suspend(self.connection)
        wait_until(lambda: all(worker.get_state() == "suspended" for worker in Worker.all(self.connection)))

    def resume(self) -> None:
        """Lets it take jobs again."""
        resume(self.connection)


def _cpu_seconds(process: str) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
