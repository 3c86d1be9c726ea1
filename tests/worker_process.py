"""Real worker processes for tests, and the jobs they are given."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import redis
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.nursery import Child, Nursery
from tests.processes import poll
from worker.protocol import (
    JOB_FUNCTION,
    QUEUE_NAME,
    READY_KEY_PATTERN,
    FailureReason,
    GenerationRequest,
    GenerationResult,
    enqueue_options,
)

ROOT = Path(__file__).parent.parent
SHORT_LEASES = {
    "BOUQUET_LEASE_SECONDS": "2",
    "BOUQUET_BEAT_SECONDS": "0.3",
    "BOUQUET_MAINTENANCE_SECONDS": "0.3",
    "BOUQUET_DRAIN_SECONDS": "3",
    "BOUQUET_STORE_SECONDS": "0.5",
}


class WorkerProcess:
    """A worker that has been started; `log` is a file with what it writes."""

    def __init__(self, name: str, log: Path, process: subprocess.Popen[bytes] | Child) -> None:
        self.name = name
        self.log = log
        self.process = process

    @classmethod
    def start(cls, name: str, log: Path, environment: Mapping[str, str]) -> WorkerProcess:
        """A production worker."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", "--name", name],
                cwd=ROOT,
                env=os.environ | SHORT_LEASES | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(name, log, process)

    @classmethod
    def start_light(
        cls, nursery: Nursery, name: str, log: Path, environment: Mapping[str, str], options: Sequence[str]
    ) -> WorkerProcess:
        """A light worker; see tests/light_worker.py for its options."""
        return cls(name, log, nursery.start(["--name", name, *options], SHORT_LEASES | dict(environment), log))

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def is_ready(self, client: redis.Redis) -> bool:
        """It may have ended again since: what says so outlives it for a moment."""
        is_ready = any(f":{self.name}-".encode() in key for key in client.scan_iter(READY_KEY_PATTERN))
        assert is_ready or self.is_running, self.tail()
        return is_ready

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 20.0) -> int:
        self.process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = 20.0) -> int:
        return self.process.wait(seconds)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def close(self) -> None:
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.kill()


class Jobs:
    """The queue as clients use it."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.queue = Queue(QUEUE_NAME, connection=client, serializer=JSONSerializer)

    def post(self, steps: int, seed: int, count: int = 1) -> Job:
        request = GenerationRequest(steps, seed, count)
        return self.queue.enqueue(JOB_FUNCTION, kwargs=request.to_kwargs(), **enqueue_options(request))

    def status(self, job: Job) -> str:
        return str(job.get_status(refresh=True).value)

    def until(self, job: Job, *statuses: str, seconds: float = 30.0) -> None:
        poll(lambda: self.status(job) in statuses, f"job {job.id} is {' or '.join(statuses)}", seconds)

    def finish(self, jobs: Iterable[Job], seconds: float = 60.0) -> list[GenerationResult]:
        """Waits until all have ended; fails the test if one has not ended well."""
        results = []
        for job in jobs:
            self.until(job, "finished", "failed", "stopped", "canceled", seconds=seconds)
            assert self.status(job) == "finished", self.failure(job)
            results.append(self.result(job))
        return results

    def result(self, job: Job) -> GenerationResult:
        latest = job.latest_result()
        assert latest is not None
        return GenerationResult.from_json(latest.return_value)

    def failure(self, job: Job) -> FailureReason:
        latest = job.latest_result()
        return FailureReason.from_text(latest.exc_string if latest else None)

    def successes(self, job: Job) -> int:
        """How often the job was finished: RQ keeps a result for each time."""
        return sum(result.type == result.Type.SUCCESSFUL for result in job.results())

    def retries_left(self, job: Job) -> int | None:
        job.refresh()
        return job.retries_left
