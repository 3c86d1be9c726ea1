"""What a worker counts of itself, and how it tells: its figures, in Prometheus' text format, under a key that lapses.

Counting is a handful of additions a tick. With each beat the figures go to Redis; every front end shows those of all
workers at its own `/metrics`, each with a label `worker`. A worker's name is its process' alone, so a worker that is
started again begins series of its own at 0, and none ever goes backwards. The figures outlive their worker by a minute
and a half, so that what it counted last is scraped once more.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from worker.protocol import WORKER_METRICS_INDEX, WORKER_METRICS_SECONDS, worker_metrics_key

if TYPE_CHECKING:
    from redis.client import Pipeline

    from worker.trajectory import Trajectory

_PREFIX: Final = "bouquet_worker"
_TICK_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_FILL: Final = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_JOB_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class WorkerMetrics:
    """The figures of one worker. Every method may be called from any thread."""

    def __init__(self) -> None:
        # Else every counter and histogram had one more series, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._waiting: dict[str, float] = {}
        self._slots = self._gauge("slots", "Images that can be computed at the same time.")
        self._info = self._gauge(
            "info", "Always 1; which bundle and which version of Bouquet run.", "revision", "version"
        )
        self._tick_seconds = self._histogram("tick_seconds", "Time that a tick takes to compute.", _TICK_SECONDS)
        self._fill = self._histogram("batch_fill_ratio", "Images in a tick, as a share of the worker's slots.", _FILL)
        self._image_steps = self._counter("image_steps", "Steps computed, each image's for itself.")
        self._images = self._counter("images_made", "Images computed and stored.")
        self._cache_hits = self._counter("image_cache_hits", "Images that a job wanted and that the store had already.")
        self._admission = self._histogram(
            "admission_seconds",
            "Time from a job's acceptance to its first step; not of jobs begun before.",
            _JOB_SECONDS,
        )
        self._run_seconds = self._histogram(
            "job_run_seconds", "Time from a job's start in the worker to its last image's storing.", _JOB_SECONDS
        )
        self._jobs = self._counter("jobs", "Jobs ended here, by how: succeeded, failed, given_back, lost.", "outcome")
        self._failures = self._counter("job_failures", "Jobs that failed here, by the code of their error.", "code")
        for outcome in ("succeeded", "failed", "given_back", "lost"):
            self._jobs.labels(outcome)  # at 0 from the start: a rate needs a value before the first event
        ProcessCollector(namespace=_PREFIX, registry=self.registry)  # memory, processor time, open files; on Linux

    def serve(self, revision: str, slots: int) -> None:
        """Notes what is served, and with how many slots."""
        self._slots.set(slots)
        self._info.labels(revision, version("bouquet")).set(1)

    def begin_job(self, job_id: str, accepted_at: float) -> None:
        """A job has come that was never begun before; `accepted_at` in seconds since 1970."""
        self._waiting[job_id] = accepted_at

    def tick(self, seconds: float, steps: int, slots: int, trajectories: Iterable[Trajectory]) -> None:
        """A tick has been computed: so many steps of these images, in a worker of so many slots."""
        taken = 0
        began = time.time() - seconds
        for trajectory in trajectories:
            taken += 1
            for job_id in trajectory.jobs if self._waiting else ():
                if (accepted_at := self._waiting.pop(job_id, None)) is not None:
                    self._admission.observe(max(0.0, began - accepted_at))
        self._tick_seconds.observe(seconds)
        self._fill.observe(taken / slots)
        self._image_steps.inc(taken * steps)

    def image_made(self) -> None:
        """An image has arrived in the store."""
        self._images.inc()

    def found(self, images: int) -> None:
        """So many images of a job were in the store already."""
        self._cache_hits.inc(images)

    def job_succeeded(self, job_id: str, run_seconds: float) -> None:
        self._end(job_id, "succeeded")
        self._run_seconds.observe(run_seconds)

    def job_failed(self, job_id: str, code: str) -> None:
        """`code` is that of a FailureReason."""
        self._end(job_id, "failed")
        self._failures.labels(code).inc()

    def job_given_back(self, job_id: str) -> None:
        """It is in the queue again, because the worker stops or others go first."""
        self._end(job_id, "given_back")

    def job_lost(self, job_id: str) -> None:
        """It was canceled, or another worker has it."""
        self._end(job_id, "lost")

    def publish(self, pipeline: Pipeline, worker_name: str) -> None:
        """Adds to a pipeline what tells the figures as they are now."""
        moment = time.time()
        pipeline.set(worker_metrics_key(worker_name), self.to_bytes(), ex=WORKER_METRICS_SECONDS)
        pipeline.zadd(WORKER_METRICS_INDEX, {worker_name: moment + WORKER_METRICS_SECONDS})
        pipeline.zremrangebyscore(WORKER_METRICS_INDEX, 0, moment)
        pipeline.expire(WORKER_METRICS_INDEX, WORKER_METRICS_SECONDS)  # as long as the figures that it leads to

    def to_bytes(self) -> bytes:
        """The figures as they lie in Redis: the text format, compressed, since they are written every few seconds."""
        return zlib.compress(generate_latest(self.registry), level=1)

    def _end(self, job_id: str, outcome: str) -> None:
        self._waiting.pop(job_id, None)
        self._jobs.labels(outcome).inc()

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, registry=self.registry, buckets=tuple(buckets))
