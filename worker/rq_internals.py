"""All that Bouquet does with RQ's insides: taking, starting, finishing and giving back jobs, many at once.

RQ does these things one job at a time and in several transactions. Here they are done for any number of jobs at once,
and with a fence: every start writes the execution's id into the job, and whoever finishes, fails or gives back a job
does so only if that id is still there and the job is still started. So a worker that was stopped beyond its lease, or
whose job was canceled, changes nothing. What happens to every job is done by scripts inside Redis
(worker/bulk_scripts.py); what happens seldom, by RQ's own methods under WATCH.

This file, its neighbours worker/generation_job.py, generation_queue.py and recovery.py, and the overrides of
worker/batch_worker.py are the only ones that lean on RQ 3.0's private names; a test holds RQ to them.
"""

from __future__ import annotations

import contextlib
import logging
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

import redis
from redis.client import Pipeline
from rq import worker_registration
from rq.executions import Execution
from rq.job import JobStatus
from rq.rate_limit import release_slot
from rq.results import Result
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import as_text, now, utcformat
from rq.worker import BaseWorker, WorkerStatus

from worker.bulk_scripts import FINISH, START, TAKE
from worker.generation_job import STARTS_FIELD, GenerationJob
from worker.generation_queue import PUT_BACK, GenerationQueue
from worker.lease import LEASE_FIELD, Finish, Lease
from worker.protocol import FAILURE_TTL, FailureReason

log = logging.getLogger(__name__)

_LISTED_SECONDS: Final = 60
"""How long after its lease RQ lists an execution."""

_STARTED: Final = JobStatus.STARTED.value.encode()
_CANCELED: Final = JobStatus.CANCELED.value.encode()

_BOOKED: Final = 1
_DEPENDED_ON: Final = 2


def take(worker: BaseWorker, queue: GenerationQueue, limit: int, among: int = 1) -> list[GenerationJob]:
    """Moves up to `limit` jobs from the queue to the intermediate list, without waiting; one round trip.

    Of the jobs that wait, it takes no more than its part, rounded up, when they are divided `among` so many workers.
    """
    script = worker.connection.register_script(TAKE)
    keys = [queue.key, queue.intermediate_queue_key]
    taken = script(keys, [limit, among, GenerationJob.redis_job_namespace_prefix])
    found = ((entry, dict(zip(fields[::2], fields[1::2], strict=True))) for entry, fields in taken)
    return _read(worker, queue, found)


def fetch_taken(worker: BaseWorker, queue: GenerationQueue, entry: bytes) -> GenerationJob | None:
    """The job of an id in the intermediate list. One that is gone is dropped; one that no one can read, failed."""
    fields = worker.connection.hgetall(GenerationJob.redis_job_namespace_prefix.encode() + entry)
    jobs = _read(worker, queue, [(entry, cast("dict[bytes, bytes]", fields))])
    return jobs[0] if jobs else None


def _read(
    worker: BaseWorker, queue: GenerationQueue, found: Iterable[tuple[bytes, Mapping[bytes, bytes]]]
) -> list[GenerationJob]:
    jobs = []
    for entry, fields in found:
        job_id = entry.decode(errors="replace")  # what is no text is not an id to RQ either
        try:
            job = GenerationJob(job_id, connection=worker.connection, serializer=worker.serializer)
            if fields:
                job.restore(fields)
                job.starts = int(fields.get(STARTS_FIELD.encode(), 0))
                jobs.append(job)
                continue
        except Exception:  # whatever a garbled hash makes RQ raise
            log.exception("job %s cannot be read; it is failed", job_id)
            _bury(worker, queue, job_id)
        queue.intermediate_queue.remove(entry)
    return jobs


def put_back(worker: BaseWorker, queue: GenerationQueue, jobs: Sequence[GenerationJob]) -> None:
    """Moves jobs that `take` returned back to the queue's front, the first in front."""
    for job in reversed(jobs):
        intermediate = queue.intermediate_queue
        keys = [intermediate.key, queue.key, intermediate.get_first_seen_key(job.id)]
        worker.connection.eval(PUT_BACK, len(keys), *keys, job.id)


def start(worker: BaseWorker, queue: GenerationQueue, jobs: Sequence[GenerationJob], ttl: int) -> list[Lease]:
    """Starts jobs that `take` returned, with a lease of `ttl` seconds each.

    Jobs that were canceled or have ended meanwhile, and duplicates of a job that somebody has a lease on, are dropped.
    """
    if not jobs:
        return []
    moment = now()
    executions = []
    for job in jobs:
        execution = Execution(uuid4().hex, job.id, worker.connection, worker.name)
        execution.created_at = execution.last_heartbeat = moment
        executions.append(execution)
    arguments: list[Any] = [
        worker.name,
        utcformat(moment),
        repr(moment.timestamp()),
        int(time.time()) + ttl,
        ttl,
        ttl + 2 * _LISTED_SECONDS,
        ttl + _LISTED_SECONDS,
        queue.intermediate_queue.get_first_seen_key(""),
    ]
    for execution in executions:
        arguments += [execution.job_id, execution.id]
    keys = [queue.intermediate_queue_key, queue.started_job_registry.key, worker.key, worker.executions_key]
    answers = worker.connection.register_script(START)(keys, arguments)
    leases = []
    for job, execution, answer in zip(jobs, executions, answers, strict=True):
        if answer != _BOOKED:
            log.info("job %s is %s; nothing to start", job.id, as_text(answer or "gone"))
            continue
        job.worker_name = worker.name
        job.started_at = job.last_heartbeat = moment
        job._status = JobStatus.STARTED
        leases.append(Lease(job, queue, execution))
        worker.executions[execution.id] = execution
    if leases:
        worker._state = WorkerStatus.BUSY
    return leases


def _keep(execution: Execution, ttl: int, pipeline: Pipeline) -> None:
    """Keeps an execution, and the whole of it, for longer than it is listed.

    RQ lets it lapse with the lease, a minute earlier, and a late heartbeat makes a new one that is nearly empty. A job
    with such an execution cannot be canceled.
    """
    execution.save(ttl + 2 * _LISTED_SECONDS, pipeline=pipeline)


def finish(worker: BaseWorker, ends: Sequence[Finish]) -> set[str]:
    """Books the ends of jobs; returns the ids of those whose lease was no longer ours.

    Of those nothing is booked: they were canceled, or another worker has them.
    """
    ttls = {end.lease.job_id: end.lease.job.get_result_ttl(worker.default_result_ttl) for end in ends}
    together = [
        end
        for end in ends
        if end.result is not None and not end.lease.job.has_rate_limit and (ttls[end.lease.job_id] or 0) > 0
    ]
    answers = _finish_together(worker, together, ttls) if together else {}
    lost = {job_id for job_id, answer in answers.items() if answer not in (_BOOKED, _DEPENDED_ON)}
    for end in ends:
        if answers.get(end.lease.job_id, _DEPENDED_ON) == _DEPENDED_ON and not _finish_alone(worker, end):
            lost.add(end.lease.job_id)
    return lost


def _finish_together(worker: BaseWorker, ends: Sequence[Finish], ttls: Mapping[str, int | None]) -> dict[str, int]:
    """Books successes by one script; returns what that says of each job."""
    moment = now()
    arguments: list[Any] = [
        worker.name,
        utcformat(moment),
        repr(moment.timestamp()),
        int(time.time()),
        worker.get_heartbeat_ttl(ends[0].lease.job),
    ]
    for end in ends:
        job, execution = end.lease.job, end.lease.execution
        result = end.result.to_json() if end.result is not None else None
        arguments += [
            job.id,
            execution.id,
            repr(execution.created_at.timestamp()),
            repr((moment - (job.started_at or moment)).total_seconds()),
            ttls[job.id],
            b64encode(job.serializer.dumps(result)),
        ]
    queue = ends[0].lease.queue
    keys = [queue.started_job_registry.key, queue.finished_job_registry.key, worker.key, worker.executions_key]
    answers = worker.connection.register_script(FINISH)(keys, arguments)
    for end, answer in zip(ends, answers, strict=True):
        if answer == _BOOKED:
            end.lease.job.ended_at = moment
            end.lease.job._status = JobStatus.FINISHED
            worker.executions.pop(end.lease.execution.id, None)
    return {end.lease.job_id: answer for end, answer in zip(ends, answers, strict=True)}


def _finish_alone(worker: BaseWorker, end: Finish) -> bool:
    """Books the end of one job by RQ's own means; returns whether the job was ours."""
    job, queue = end.lease.job, end.lease.queue
    with worker.connection.pipeline() as pipeline:
        while True:
            try:
                pipeline.watch(job.key, job.dependents_key)
                ours, depended_on = _look(worker, [end.lease])
                if not ours:
                    return False
                ready: dict[str, list[str]] = {}
                if depended_on and end.result is not None:
                    ready = queue.move_dependents_to_ready(job, pipeline=pipeline)
                if not pipeline.explicit_transaction:
                    pipeline.multi()
                _book(worker, end, pipeline)
                pipeline.expire(worker.key, worker.get_heartbeat_ttl(job))
                pipeline.execute()
                break
            except redis.WatchError:
                continue
    worker.executions.pop(end.lease.execution.id, None)
    if depended_on and end.result is not None:
        queue.enqueue_ready_jobs_by_queue(ready)
    elif depended_on:
        queue.enqueue_dependents(job)
    release_slot(job)
    return True


def _look(worker: BaseWorker, leases: Sequence[Lease]) -> tuple[set[str], set[str]]:
    """The ids of the jobs whose lease is still ours, and of those that other jobs depend on."""
    with worker.connection.pipeline(transaction=False) as reads:
        for lease in leases:
            reads.hmget(lease.job.key, "status", LEASE_FIELD)
            reads.exists(lease.job.dependents_key)
        answers = reads.execute()
    ours = {
        lease.job_id
        for lease, (status, holder) in zip(leases, answers[::2], strict=True)
        if status == _STARTED and holder == lease.execution.id.encode()
    }
    return ours, {lease.job_id for lease, exists in zip(leases, answers[1::2], strict=True) if exists}


def _book(worker: BaseWorker, end: Finish, pipeline: Pipeline) -> None:
    """What RQ's handle_job_success and handle_job_failure write, into a transaction of ours."""
    job, execution = end.lease.job, end.lease.execution
    job.ended_at = now()
    about: dict[str, Any] = {
        "worker_name": worker.name,
        "execution_id": execution.id,
        "execution_started_at": execution.created_at,
        "execution_ended_at": job.ended_at,
    }
    if job.started_at:
        worker.increment_total_working_time(job.ended_at - job.started_at, pipeline)
    execution.delete(job=job, pipeline=pipeline)
    if end.result is not None:
        worker.increment_successful_job_count(pipeline=pipeline)
        job._result = end.result.to_json()
        ttl = job.get_result_ttl(worker.default_result_ttl)
        if ttl != 0:
            job._handle_success(ttl, pipeline=pipeline, **about)
        job.cleanup(ttl, pipeline=pipeline, remove_from_queue=False)
        return
    worker.increment_failed_job_count(pipeline=pipeline)
    if end.retry and job.should_retry:
        job.retry(end.lease.queue, pipeline)
        return
    job.set_status(JobStatus.STOPPED if end.stopped else JobStatus.FAILED, pipeline=pipeline)
    reason = end.reason.to_text() if end.reason else ""
    job._handle_failure(f"{end.text.rstrip()}\n{reason}".strip(), pipeline=pipeline, **about)


def give_back(worker: BaseWorker, leases: Sequence[Lease]) -> set[str]:
    """Puts jobs back to the queue's front, the first in front, with no retry spent; returns the ids of the lost."""
    if not leases:
        return set()
    jobs = [lease.job for lease in leases]
    with worker.connection.pipeline() as pipeline:
        while True:
            try:
                pipeline.watch(*(job.key for job in jobs))
                ours, _ = _look(worker, leases)
                pipeline.multi()
                for lease in reversed(leases):
                    if lease.job_id in ours:
                        lease.execution.delete(job=lease.job, pipeline=pipeline)
                        lease.job.started_at = None
                        lease.job.worker_name = None
                        lease.queue._enqueue_job(lease.job, pipeline=pipeline, at_front=True)
                        pipeline.hincrby(lease.job.key, STARTS_FIELD, -1)
                pipeline.execute()
                break
            except redis.WatchError:
                continue
    for lease in leases:
        worker.executions.pop(lease.execution.id, None)
    return {job.id for job in jobs} - ours


def abandon(worker: BaseWorker, leases: Sequence[Lease]) -> None:
    """Clears away what is ours of jobs that are no longer: their executions, and canceled jobs after a while."""
    if not leases:
        return
    with worker.connection.pipeline(transaction=False) as pipeline:
        for lease in leases:
            lease.execution.delete(job=lease.job, pipeline=pipeline)
            pipeline.hget(lease.job.key, "status")
        canceled = [
            lease.job.key for lease, status in zip(leases, _statuses(pipeline), strict=True) if status == _CANCELED
        ]
        for key in canceled:
            pipeline.expire(key, FAILURE_TTL)
        pipeline.execute()
    for lease in leases:
        worker.executions.pop(lease.execution.id, None)


def _statuses(pipeline: Pipeline) -> list[bytes | None]:
    """Runs a pipeline of `abandon`; what HGET answered is bytes or None, all else numbers."""
    return [answer for answer in pipeline.execute() if answer is None or isinstance(answer, bytes)]


def renew(worker: BaseWorker, leases: Sequence[Lease], ttl: int) -> set[str]:
    """Renews leases and the worker's own registration for `ttl` seconds; returns the ids of jobs that are lost.

    Safe to call from a thread beside the worker's own.
    """
    with worker.connection.pipeline(transaction=False) as pipeline:
        pipeline.hexists(worker.key, "birth")
        worker.heartbeat(ttl, pipeline=pipeline)
        for lease in leases:
            lease.execution.heartbeat(lease.job.started_job_registry, ttl, pipeline=pipeline)
            _keep(lease.execution, ttl, pipeline)
        registered = pipeline.execute()[0]
        if not registered:  # it had lapsed, and whatever is there now was written by chance
            pipeline.hset(worker.key, mapping=worker.serialize())
            pipeline.expire(worker.key, ttl)
            worker_registration.register(worker, pipeline)
            pipeline.execute()
    if not leases:
        return set()
    ours, _ = _look(worker, leases)
    return {lease.job_id for lease in leases} - ours


def _bury(worker: BaseWorker, queue: GenerationQueue, job_id: str) -> None:
    """Fails a job whose hash cannot be read, without saving it."""
    text = FailureReason("foreign-job", "The job's data cannot be read.").to_text()
    with contextlib.suppress(ValueError):  # not even its id is one
        job = GenerationJob(job_id, connection=worker.connection, serializer=worker.serializer)
        with worker.connection.pipeline() as pipeline:
            job.set_status(JobStatus.FAILED, pipeline=pipeline)
            pipeline.expire(job.key, FAILURE_TTL)
            pipeline.zadd(queue.failed_job_registry.key, {job_id: now().timestamp() + FAILURE_TTL})
            Result.create_failure(job, FAILURE_TTL, exc_string=text, worker_name=worker.name, pipeline=pipeline)
            pipeline.execute()


def is_suspended(worker: BaseWorker) -> bool:
    """Whether `rq suspend` asked all workers to take no more jobs."""
    return bool(worker.connection.exists(WORKERS_SUSPENDED))
