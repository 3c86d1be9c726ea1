"""What queue, booking, encoding and storing cost: jobs a second through one worker whose network costs nothing."""

from __future__ import annotations

import dataclasses
import time

from rq.registry import FinishedJobRegistry

from benchmarks.serve_stack import Service
from benchmarks.stack import wait_until
from worker.protocol import JOB_FUNCTION, GenerationRequest, enqueue_options

_POSTED_AT_ONCE = 500
_LOOK_SECONDS = 0.05
_WARM_UP_SHARE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class QueueCost:
    """Jobs a second, and the processor time of a job in seconds, in the worker and in the queue's server."""

    jobs_per_second: float
    worker: float
    queue: float


def measure_queue_cost(service: Service, jobs: int, count: int, first_seed: int) -> QueueCost:
    """Of jobs that all wait for a worker; what it takes to post them is not counted. As `jobs_per_second`."""
    post(service, jobs, count, first_seed)
    worker, queue = service.cpu_seconds("worker"), service.queue_cpu_seconds()
    rate = _work_off(service, jobs)
    worker, queue = service.cpu_seconds("worker") - worker, service.queue_cpu_seconds() - queue
    return QueueCost(rate, worker / jobs, queue / jobs)


def jobs_per_second(service: Service, jobs: int, count: int, first_seed: int) -> float:
    """The rate at which a worker finishes jobs of one step that all wait for it, after the first tenth of them.

    Args:
        service: one whose worker has a network that costs nothing.
        jobs: how many.
        count: images each.
        first_seed: of the first image; the others follow.
    """
    post(service, jobs, count, first_seed)
    return _work_off(service, jobs)


def post(service: Service, jobs: int, count: int, first_seed: int) -> None:
    """Puts jobs into the queue, and has the worker wait."""
    service.suspend()
    for begin in range(0, jobs, _POSTED_AT_ONCE):
        with service.connection.pipeline(transaction=False) as pipeline:
            for number in range(begin, min(jobs, begin + _POSTED_AT_ONCE)):
                request = GenerationRequest(1, first_seed + number * count, count)
                service.queue.enqueue(
                    JOB_FUNCTION, kwargs=request.to_kwargs(), pipeline=pipeline, **enqueue_options(request)
                )
            pipeline.execute()


def _work_off(service: Service, jobs: int) -> float:
    finished = FinishedJobRegistry(queue=service.queue)
    before = service.connection.zcard(finished.key)
    service.resume()

    def done() -> int:
        return int(service.connection.zcard(finished.key)) - int(before)

    wait_until(lambda: done() >= jobs * _WARM_UP_SHARE)
    first, began = done(), time.perf_counter()
    while (last := done()) < jobs:
        time.sleep(_LOOK_SECONDS)
    return (last - first) / (time.perf_counter() - began)
