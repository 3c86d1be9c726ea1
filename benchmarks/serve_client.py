"""Clients of the front end that do not wait for one another, and what became of their jobs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from benchmarks.serve_figures import JobTimes, TickRecord, times_of
from benchmarks.serve_stack import Service
from benchmarks.serve_trace import Arrival

_THREADS = 8
_LOOK_SECONDS = 0.2
_ENDS = ("succeeded", "failed", "canceled")


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """The times of each job of the trace, in its order, and the worker's ticks; seconds of `time.time`."""

    jobs: list[JobTimes]
    ticks: list[TickRecord]
    start: float

    @property
    def seconds(self) -> float:
        """From the start to the last job's end."""
        return max(job.finished for job in self.jobs) - self.start


def offer(service: Service, trace: Sequence[Arrival], *, all_waiting: bool = False) -> MeasuredRun:
    """Posts every request when its time has come, whether or not others have been answered; waits for all ends.

    A job's time runs from the moment at which the trace has it come, so that a front end which keeps clients waiting
    is not flattered. With `all_waiting` the worker begins when everything has been posted.
    """
    service.ticks.read()
    if all_waiting:
        service.suspend()
    start = time.time()
    with ThreadPoolExecutor(_THREADS) as pool:
        posts = []
        for arrival in trace:
            time.sleep(max(0.0, start + arrival.at - time.time()))
            posts.append(pool.submit(post, service, arrival.steps, arrival.seed, arrival.count))
        ids = [post.result() for post in posts]
    if all_waiting:
        start = time.time()
        service.resume()
    ends = [finished_at(wait_for(service, job_id)) for job_id in ids]
    ticks, admitted = service.ticks.read()
    jobs = [
        times_of(arrival, start, admitted.get(job_id, float("nan")), end)
        for arrival, job_id, end in zip(trace, ids, ends, strict=True)
    ]
    return MeasuredRun(jobs, ticks, start)


def post(service: Service, steps: int, seed: int, count: int = 1) -> str:
    """Posts a request; returns the job's id."""
    answer = service.client.post("/generate", json={"steps": steps, "seed": seed, "count": count})
    answer.raise_for_status()
    return str(answer.json()["id"])


def wait_for(service: Service, job_id: str, look_seconds: float = _LOOK_SECONDS) -> dict[str, Any]:
    """The job, once it has succeeded. It is looked at seldom: what is measured stands in it.

    Raises:
        RuntimeError: it has failed, or was canceled.
    """
    while True:
        answer = service.client.get(f"/jobs/{job_id}")
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        if job["status"] in _ENDS:
            break
        time.sleep(look_seconds)
    if job["status"] != "succeeded":
        raise RuntimeError(f"a job has not succeeded: {job}")
    return job


def finished_at(job: dict[str, Any]) -> float:
    """When a job was booked as done, in seconds of `time.time`."""
    return datetime.fromisoformat(job["finished_at"]).timestamp()
