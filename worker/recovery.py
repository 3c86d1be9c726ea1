"""What workers do for one another: take over the jobs of those that died, and forget what nobody needs any more."""

from __future__ import annotations

import logging
from typing import Any, Final, cast

import redis
from rq import worker_registration
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.rate_limit import release_slot
from rq.registry import DeferredJobRegistry, FailedJobRegistry, FinishedJobRegistry, ReadyJobRegistry
from rq.utils import as_text, parse_composite_key
from rq.worker import BaseWorker

from worker.generation_job import GenerationJob
from worker.generation_queue import GenerationQueue
from worker.lease import LEASE_FIELD
from worker.protocol import FAILURE_TTL, RETRIES, FailureReason

log = logging.getLogger(__name__)

_STARTED: Final = JobStatus.STARTED.value.encode()


def recover(worker: BaseWorker, queue: GenerationQueue, moment: float) -> None:
    """Sends jobs whose lease had lapsed by then back to the queue's front, a retry spent; those with none left fail.

    RQ's own clean-up neither watches the jobs nor looks whose the lease is: a job that its worker, late but alive,
    finished between RQ's look and RQ's writing would be run and finished once more.
    """
    registry = queue.started_job_registry
    recovered = 0
    for entry in worker.connection.zrangebyscore(registry.key, 0, moment):
        recovered += _recover_one(worker, queue, as_text(cast(bytes, entry)))
    if recovered:
        log.warning("%d jobs of workers that died are at the front of the queue again", recovered)


def _recover_one(worker: BaseWorker, queue: GenerationQueue, entry: str) -> bool:
    """Recovers the job of an entry of the registry of started jobs, if the lease is still the one that lapsed.

    Returns whether the job will be run again.
    """
    job_id, execution_id = parse_composite_key(entry)
    key = GenerationJob.key_for(job_id)
    failed: Job | None = None
    with worker.connection.pipeline() as pipeline:
        while True:
            try:
                pipeline.watch(key)
                job = _held_by(worker, queue, job_id, execution_id)
                pipeline.multi()
                pipeline.zrem(queue.started_job_registry.key, entry)
                if job is not None:
                    execution = Execution(execution_id, job_id, worker.connection, job.worker_name or "")
                    execution.delete(job=job, pipeline=pipeline)
                failed = None
                if job is not None and job.should_retry:
                    job.retry(queue, pipeline)
                elif job is not None:
                    failed = job
                    reason = FailureReason("worker-lost", f"The worker died {RETRIES + 1} times while it ran this job.")
                    job.set_status(JobStatus.FAILED, pipeline=pipeline)
                    job._handle_failure(reason.to_text(), pipeline=pipeline)
                pipeline.execute()
                break
            except redis.WatchError:
                continue
    if failed is not None:
        log.error("job %s has failed: its workers died, and it has no retries left", job_id)
        queue.enqueue_dependents(failed)
        release_slot(failed)
    return job is not None and failed is None


def _held_by(worker: BaseWorker, queue: GenerationQueue, job_id: str, execution_id: str) -> Job | None:
    """The job, if it is started and that execution has it."""
    key = GenerationJob.key_for(job_id)
    status, holder = worker.connection.hmget(key, "status", LEASE_FIELD)
    if status != _STARTED or holder != execution_id.encode():
        return None
    try:
        return queue.job_class.fetch(job_id, connection=worker.connection, serializer=worker.serializer)
    except NoSuchJobError:  # gone this very moment
        return None


def tidy_up(worker: BaseWorker, queue: GenerationQueue) -> None:
    """What RQ's clean-up does beside recovering jobs: forgets what has expired, and who has died."""
    options: dict[str, Any] = {
        "connection": worker.connection,
        "job_class": queue.job_class,
        "serializer": worker.serializer,
    }
    for kind in (FinishedJobRegistry, FailedJobRegistry, DeferredJobRegistry, ReadyJobRegistry):
        kind(queue.name, **options).cleanup()
    worker_registration.clean_worker_registry(queue)
    queue.intermediate_queue.cleanup(worker, queue)


def sweep_canceled(worker: BaseWorker, queue: GenerationQueue) -> None:
    """Forgets canceled jobs whose hash has lapsed, and lets the others lapse: RQ keeps them for ever."""
    registry = queue.canceled_job_registry
    job_ids = registry.get_job_ids(cleanup=False)
    if not job_ids:
        return
    keys = [GenerationJob.key_for(job_id) for job_id in job_ids]
    with worker.connection.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.ttl(key)
        lives = pipeline.execute()
        for job_id, key, life in zip(job_ids, keys, lives, strict=True):
            if life == -2:  # gone
                pipeline.zrem(registry.key, job_id)
            elif life == -1:  # for ever
                pipeline.expire(key, FAILURE_TTL)
        pipeline.execute()
