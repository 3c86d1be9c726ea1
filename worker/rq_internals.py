"""All that Bouquet does with RQ's insides: taking, starting, finishing and giving back jobs, many at once.

The only file, beside the overrides of worker/batch_worker.py, that leans on RQ 3.0's private names; a test holds it to
them. RQ does these things one job at a time and in several transactions. Here they are done for any number of jobs in
one transaction each, under WATCH, and with a fence: every start writes the execution's id into the job, and whoever
finishes, fails or gives back a job does so only if that id is still there and the job is still started. So a worker
that was stopped beyond its lease, or whose job was canceled, changes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

import redis
from redis.client import Pipeline
from rq import worker_registration
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.rate_limit import release_slot
from rq.registry import DeferredJobRegistry, FailedJobRegistry, FinishedJobRegistry, ReadyJobRegistry
from rq.results import Result
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import as_text, now, parse_composite_key
from rq.worker import BaseWorker, WorkerStatus

from worker.protocol import (
    FAILURE_TTL,
    JOB_FUNCTION,
    RETRIES,
    FailureReason,
    GenerationRequest,
    GenerationResult,
    ProtocolError,
)

log = logging.getLogger(__name__)

LEASE_FIELD: Final = "bouquet_lease"
"""Field of a job's hash: the id of the execution that may finish it."""

STARTS_FIELD: Final = "bouquet_starts"
"""Field of a job's hash: how often it was started, less how often it was given back."""

_SUSPICIOUS_STARTS: Final = 2
_STRANDED_SECONDS: Final = 10.0
"""How long a job may be between queue and start: a worker needs milliseconds."""
_MAINTENANCE_LOCK_SECONDS: Final = 5
_LISTED_SECONDS: Final = 60
"""How long after its lease RQ lists an execution."""

_QUEUED: Final = JobStatus.QUEUED.value.encode()
_STARTED: Final = JobStatus.STARTED.value.encode()
_CANCELED: Final = JobStatus.CANCELED.value.encode()

_PUT_BACK = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then
  redis.call('DEL', KEYS[3])
  redis.call('LPUSH', KEYS[2], ARGV[1])
  return 1
end
return 0
"""


class ForeignCodeError(RuntimeError):
    """Something asked a job for the code it names. Bouquet never runs any."""


class RefusedError(Exception):
    """A job that is not to be run. `reason` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = FailureReason(code, detail)


class GenerationJob(Job):
    """An RQ job whose named code is never imported: neither its function nor its callbacks, nor are webhooks sent.

    Whoever can write to Redis could otherwise have any importable function called.
    """

    starts = 0
    """How often it was started before, and neither finished nor given back; as of `fetch_taken`."""

    @property
    def is_suspect(self) -> bool:
        """Whether two workers have died under this job: it may be what killed them."""
        return self.starts >= _SUSPICIOUS_STARTS

    @property
    def func(self) -> NoReturn:
        raise ForeignCodeError(f"Bouquet does not import what job {self.id} names.")

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def send_webhooks(self, status: str | JobStatus, *, exc_string: str | None = None) -> None:
        """Sends nothing."""

    def request(self) -> GenerationRequest:
        """What the job asks for.

        Raises:
            RefusedError: it names another function, or has callbacks or other extras, or its arguments are bad.
        """
        try:
            function, instance, arguments, keywords = self.func_name, self.instance, self.args, self.kwargs
        except DeserializationError:
            raise RefusedError("foreign-job", "The job's data are not the JSON that Bouquet's jobs have.") from None
        if function != JOB_FUNCTION or instance is not None:
            raise RefusedError(
                "foreign-job", f"The job names the function {function!r}; only {JOB_FUNCTION} is run here."
            )
        extras = {
            "a success callback": self._success_callback_name,
            "a failure callback": self._failure_callback_name,
            "a stopped callback": self._stopped_callback_name,
            "webhooks": self.webhooks,
            "repeats": self.repeats_left,
        }
        if found := [name for name, value in extras.items() if value]:
            raise RefusedError("foreign-job", f"The job has {', '.join(found)}; jobs with those are refused.")
        if arguments:
            raise RefusedError(
                "invalid-request", "The job has positional arguments; a request is steps, seed, count and sampler."
            )
        try:
            return GenerationRequest.from_kwargs(keywords)
        except ProtocolError as error:
            raise RefusedError("invalid-request", str(error)) from error


class PatientIntermediateQueue(IntermediateQueue):
    """The list in which jobs are between queue and start. One that is stuck there goes back to the queue's front.

    RQ would fail it after a minute, and spend one of its retries.
    """

    patience = _STRANDED_SECONDS

    def cleanup(self, worker: BaseWorker, queue: Queue) -> None:
        """Puts back what has been here beyond our patience: its worker died, or is stopped and will find it gone."""
        for job_id in self.get_job_ids():
            if self.set_first_seen(job_id):
                continue
            first_seen = self.get_first_seen(job_id)
            if first_seen is None or (now() - first_seen).total_seconds() < self.patience:
                continue
            keys = [self.key, self.queue_key, self.get_first_seen_key(job_id)]
            if self.connection.eval(_PUT_BACK, len(keys), *keys, job_id):
                log.warning("job %s was stranded before its start; it is at the front of the queue again", job_id)


class GenerationQueue(Queue):
    """RQ's queue with generation jobs, a patient intermediate queue and a maintenance lock that soon lapses."""

    job_class = GenerationJob
    patience = _STRANDED_SECONDS
    """Seconds that a job may be between queue and start."""

    @property
    def intermediate_queue(self) -> IntermediateQueue:
        jobs = PatientIntermediateQueue(self.key, connection=self.connection)
        jobs.patience = self.patience
        return jobs

    def acquire_maintenance_lock(self) -> bool:
        """RQ's own lock outlives a killed holder by a quarter of an hour, in which nobody's jobs would be recovered."""
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=_MAINTENANCE_LOCK_SECONDS))


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Lease:
    """A started job that is ours until the lease lapses."""

    job: GenerationJob
    queue: GenerationQueue
    execution: Execution

    @property
    def job_id(self) -> str:
        return self.job.id


@dataclasses.dataclass(frozen=True, slots=True)
class Finish:
    """How a leased job ends: with a result, or with a reason for its failure.

    `text` is the failure text (a traceback, say) that the reason is put under. `retry` lets RQ run the job again if it
    has retries left. `stopped` marks a job that was stopped on request.
    """

    lease: Lease
    result: GenerationResult | None = None
    reason: FailureReason | None = None
    text: str = ""
    retry: bool = False
    stopped: bool = False


def take(worker: BaseWorker, queue: GenerationQueue, limit: int) -> list[GenerationJob]:
    """Moves up to `limit` jobs from the queue to the intermediate list, without waiting; one round trip, or two."""
    with worker.connection.pipeline(transaction=False) as pipeline:
        for _ in range(limit):
            pipeline.lmove(queue.key, queue.intermediate_queue_key)
        job_ids = [as_text(job_id) for job_id in pipeline.execute() if job_id is not None]
    return fetch_taken(worker, queue, job_ids)


def fetch_taken(worker: BaseWorker, queue: GenerationQueue, job_ids: Sequence[str]) -> list[GenerationJob]:
    """The jobs of ids in the intermediate list. Those that are gone are dropped; those that no one can read, failed."""
    if not job_ids:
        return []
    with worker.connection.pipeline(transaction=False) as pipeline:
        for job_id in job_ids:
            pipeline.hgetall(GenerationJob.key_for(job_id))
        hashes = pipeline.execute()
    jobs = []
    for job_id, fields in zip(job_ids, hashes, strict=True):
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
        queue.intermediate_queue.remove(job_id)
    return jobs


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


def put_back(worker: BaseWorker, queue: GenerationQueue, jobs: Sequence[GenerationJob]) -> None:
    """Moves jobs that `take` returned back to the queue's front, the first in front."""
    for job in reversed(jobs):
        intermediate = queue.intermediate_queue
        keys = [intermediate.key, queue.key, intermediate.get_first_seen_key(job.id)]
        worker.connection.eval(_PUT_BACK, len(keys), *keys, job.id)


def start(worker: BaseWorker, queue: GenerationQueue, jobs: Sequence[GenerationJob], ttl: int) -> list[Lease]:
    """Starts jobs that `take` returned, with a lease of `ttl` seconds each.

    Jobs that were canceled or have ended meanwhile, and duplicates of a job that somebody has a lease on, are dropped.
    """
    if not jobs:
        return []
    with worker.connection.pipeline() as pipeline:
        while True:
            try:
                pipeline.watch(*{job.key for job in jobs})
                leases = _start_watched(worker, queue, jobs, ttl, pipeline)
                pipeline.execute()
                break
            except redis.WatchError:
                continue
    for lease in leases:
        worker.executions[lease.execution.id] = lease.execution
    return leases


def _start_watched(
    worker: BaseWorker, queue: GenerationQueue, jobs: Sequence[GenerationJob], ttl: int, pipeline: Pipeline
) -> list[Lease]:
    with worker.connection.pipeline(transaction=False) as reads:
        for job in jobs:
            reads.hget(job.key, "status")
        statuses = reads.execute()
    pipeline.multi()
    leases: list[Lease] = []
    seen: set[str] = set()
    for job, status in zip(jobs, statuses, strict=True):
        pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
        pipeline.delete(queue.intermediate_queue.get_first_seen_key(job.id))
        # A status of started without a lease: its worker died between being noticed and being cleaned up.
        startable = status == _QUEUED or (status == _STARTED and job.id not in job.started_job_registry)
        if job.id in seen or not startable:
            log.info("job %s is %s; nothing to start", job.id, as_text(status or "gone"))
            continue
        seen.add(job.id)
        execution = Execution.create(job, ttl, pipeline=pipeline, worker_name=worker.name)
        _keep(execution, ttl, pipeline)
        job.prepare_for_execution(worker.name, pipeline=pipeline)
        pipeline.hset(job.key, LEASE_FIELD, execution.id)
        pipeline.hincrby(job.key, STARTS_FIELD, 1)
        pipeline.persist(job.key)
        leases.append(Lease(job, queue, execution))
    if leases:
        worker.set_state(WorkerStatus.BUSY, pipeline=pipeline)
    return leases


def _keep(execution: Execution, ttl: int, pipeline: Pipeline) -> None:
    """Keeps an execution, and the whole of it, for longer than it is listed.

    RQ lets it lapse with the lease, a minute earlier, and a late heartbeat makes a new one that is nearly empty. A job
    with such an execution cannot be canceled.
    """
    execution.save(ttl + 2 * _LISTED_SECONDS, pipeline=pipeline)


def finish(worker: BaseWorker, ends: Sequence[Finish]) -> set[str]:
    """Books the ends of jobs in one transaction; returns the ids of those whose lease was no longer ours.

    Of those nothing is booked: they were canceled, or another worker has them.
    """
    lost, apart = _finish_together(worker, ends) if ends else (set(), [])
    for end in apart:
        lost |= _finish_together(worker, [end])[0]
    return lost


def _finish_together(worker: BaseWorker, ends: Sequence[Finish]) -> tuple[set[str], list[Finish]]:
    """Returns the ids of the lost, and jobs left out because others depend on them: each needs its own transaction."""
    jobs = [end.lease.job for end in ends]
    with worker.connection.pipeline() as pipeline:
        while True:
            try:
                pipeline.watch(*(key for job in jobs for key in (job.key, job.dependents_key)))
                ours, depended_on = _look(worker, [end.lease for end in ends])
                apart = [end for end in ends if end.lease.job_id in depended_on & ours] if len(ends) > 1 else []
                booked = [end for end in ends if end.lease.job_id in ours and end not in apart]
                ready: dict[str, list[str]] = {}
                if len(ends) == 1 and booked and depended_on and booked[0].result is not None:
                    ready = booked[0].lease.queue.move_dependents_to_ready(jobs[0], pipeline=pipeline)
                if not pipeline.explicit_transaction:
                    pipeline.multi()
                for end in booked:
                    _book(worker, end, pipeline)
                    pipeline.expire(worker.key, worker.get_heartbeat_ttl(end.lease.job))
                pipeline.execute()
                break
            except redis.WatchError:
                continue
    for end in booked:
        worker.executions.pop(end.lease.execution.id, None)
        if end.lease.job_id in depended_on:
            if end.result is not None:
                end.lease.queue.enqueue_ready_jobs_by_queue(ready)
            else:
                end.lease.queue.enqueue_dependents(end.lease.job)
        release_slot(end.lease.job)
    return {job.id for job in jobs} - ours, apart


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
