"""The RQ queue as the front end uses it; the only file here that knows RQ's insides.

RQ's own objects make and read what is in Redis, so that both sides agree on it. What goes over the wire goes through
redis.asyncio: RQ writes its commands into a pipeline, and an asyncio pipeline gathers commands just like a blocking
one. That makes a submission one round trip, and thousands of waiting requests need no threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

import redis
import redis.asyncio
from anyio import to_thread
from rq import Queue
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus
from rq.registry import CanceledJobRegistry, FinishedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import now, utcformat

from app.job_ids import is_job_id
from app.request_ids import current_request_id
from worker.protocol import (
    FAILURE_TTL,
    JOB_FUNCTION,
    QUEUE_NAME,
    RESULT_TTL,
    FailureReason,
    GenerationRequest,
    GenerationResult,
    Progress,
    enqueue_options,
    progress_key,
)

if TYPE_CHECKING:
    from redis.client import Pipeline

    AsyncRedis = redis.asyncio.Redis
    AsyncPipeline = redis.asyncio.client.Pipeline

QUEUE_KEY: Final = f"rq:queue:{QUEUE_NAME}"
STARTED_KEY: Final = f"rq:wip:{QUEUE_NAME}"

FAILED_KEPT: Final = FAILURE_TTL // RESULT_TTL
"""How many times as long as others failed jobs are kept."""

JOBS_KEY: Final = "bouquet:jobs"
"""Sorted set, all scores 0, of the ids of all jobs: in the order of their names, which is that of their creation."""

_ANY_MODERN_SERVER: Final = (7, 0, 0)
"""What RQ is told of the server's version, which it would otherwise ask for over a connection of its own."""

_RESULT_KEY: Final = "rq:results:{}"
_SWEPT_AT_ONCE: Final = 500
_MAX_RACES: Final = 20


Glance = tuple[bytes | None, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class JobRecord:
    """All that Redis knows of one job, read in one transaction. Times are aware, in UTC."""

    id: str
    request: GenerationRequest
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: Progress
    position: int | None
    """Jobs ahead of it in the queue; None when it is not in the queue."""
    result: GenerationResult | None
    failure: FailureReason | None


class JobEnded(Exception):  # noqa: N818 (a fact, not a fault)
    """The job to be canceled has already come to its end: `status`, as RQ calls it."""

    def __init__(self, status: JobStatus) -> None:
        super().__init__(f"the job is {status.value}")
        self.status = status


class JobQueue:
    """Puts jobs into RQ's queue, and reads and cancels them. Safe for use by many tasks at once."""

    def __init__(self, connection: AsyncRedis, blocking: redis.Redis, job_ttl: int = RESULT_TTL) -> None:
        """`job_ttl`: seconds for which the jobs that are put here are kept once they have ended."""
        self._ttl = job_ttl
        self._redis = connection
        self._blocking = blocking
        self._queue = Queue(QUEUE_NAME, connection=blocking, serializer=JSONSerializer)
        self._queue.redis_server_version = _ANY_MODERN_SERVER

    def write_job(self, pipeline: AsyncPipeline, job_id: str, request: GenerationRequest) -> JobRecord:
        """Adds to `pipeline` all that puts a job into the queue; nothing is sent before `pipeline.execute()`."""
        job = self._create(job_id, request)
        # First of all, because RQ begins the transaction here if that has not been done.
        self._queue.enqueue_job(job, pipeline=cast("Pipeline", pipeline))
        pipeline.zadd(JOBS_KEY, {job_id: 0})
        return _queued(job, request)

    def write_finished_job(
        self, pipeline: AsyncPipeline, job_id: str, request: GenerationRequest, result: GenerationResult
    ) -> JobRecord:
        """Adds to `pipeline` a job that has succeeded already, since all its images are in the store."""
        job = self._create(job_id, request)
        blocking_pipeline = cast("Pipeline", pipeline)
        job.enqueued_at = job.started_at = job.ended_at = job.created_at
        job.set_status(JobStatus.FINISHED, pipeline=blocking_pipeline)
        pipeline.zadd(JOBS_KEY, {job_id: 0})
        job.save(pipeline=blocking_pipeline)
        job.cleanup(self._ttl, pipeline=blocking_pipeline, remove_from_queue=False)
        FinishedJobRegistry(queue=self._queue).add(job, self._ttl, pipeline=blocking_pipeline)
        Result.create(job, Result.Type.SUCCESSFUL, self._ttl, return_value=result.to_json(), pipeline=blocking_pipeline)
        queued = _queued(job, request)
        return dataclasses.replace(
            queued, status=JobStatus.FINISHED, started_at=job.started_at, ended_at=job.ended_at, result=result
        )

    async def read(self, job_id: str) -> JobRecord | None:
        """The job, or None when there is none of that id, or none any more."""
        return (await self.read_many([job_id]))[0]

    async def read_many(self, job_ids: list[str]) -> list[JobRecord | None]:
        """Reads jobs in two round trips, whatever their number; each job is read in one instant."""
        known = [job_id for job_id in job_ids if is_job_id(job_id)]
        if not known:
            return [None] * len(job_ids)
        async with self._redis.pipeline(transaction=True) as pipeline:
            for job_id in known:
                pipeline.hgetall(Job.key_for(job_id))
                pipeline.hgetall(progress_key(job_id))
                pipeline.xrevrange(_RESULT_KEY.format(job_id), count=1)
            answers = await pipeline.execute()
        records: dict[str, JobRecord] = {}
        for job_id, fields, progress, results in zip(known, answers[::3], answers[1::3], answers[2::3], strict=True):
            if (record := self._read(job_id, fields, progress, results)) is not None:
                records[job_id] = record
        await self._find_positions(records)
        return [records.get(job_id) for job_id in job_ids]

    async def status(self, job_id: str) -> JobStatus | None:
        """The status alone: the cheapest thing to ask while waiting."""
        status = await cast("Any", self._redis.hget(Job.key_for(job_id), "status"))
        return None if status is None else JobStatus(status.decode())

    async def glance(self, job_ids: list[str]) -> list[Glance]:
        """What changes with a job's status, of many jobs in one round trip; for comparing with the glance before."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hmget(Job.key_for(job_id), "status", "started_at")
            return [tuple(fields) for fields in await pipeline.execute()]

    async def newest(self, before: str | None, limit: int) -> list[str]:
        """The ids of up to `limit` jobs, newest first, that were made before the job `before`."""
        top = "+" if before is None else f"({before}"
        ids = await cast("Any", self._redis.zrevrangebylex(JOBS_KEY, top, "-", start=0, num=limit))
        return [job_id.decode() for job_id in ids]

    async def forget(self, job_ids: list[str]) -> None:
        """Takes ids whose jobs have expired out of the list of jobs, and out of RQ's list of canceled ones."""
        if job_ids:
            async with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.zrem(JOBS_KEY, *job_ids)
                pipeline.zrem(CanceledJobRegistry(queue=self._queue).key, *job_ids)
                await pipeline.execute()

    async def sweep(self) -> int:
        """Takes the jobs that have expired off the list of jobs; returns how many. Looks at old ones only."""
        oldest_kept = f"{(time.time_ns() // 1_000_000) - self._ttl * 1000:012x}"
        start, swept = "-", 0
        while True:
            ids: list[bytes] = await cast(
                "Any", self._redis.zrangebylex(JOBS_KEY, start, f"({oldest_kept}", start=0, num=_SWEPT_AT_ONCE)
            )
            if not ids:
                return swept
            async with self._redis.pipeline(transaction=False) as pipeline:
                for job_id in ids:
                    pipeline.exists(Job.key_for(job_id.decode()))
                there = await pipeline.execute()
            expired = [job_id.decode() for job_id, exists in zip(ids, there, strict=True) if not exists]
            await self.forget(expired)
            swept += len(expired)
            start = f"({ids[-1].decode()}"

    async def cancel(self, job_id: str) -> bool:
        """Cancels a queued or running job; False when there is none of that id.

        A running job's worker is told; it gives up the slots at its next tick, and its result is refused from now on.

        Raises:
            JobEnded: the job has already ended.
        """
        return await to_thread.run_sync(self._cancel, job_id)

    def _cancel(self, job_id: str) -> bool:
        for _ in range(_MAX_RACES):
            try:
                return self._try_to_cancel(job_id)
            except redis.WatchError:
                continue  # the worker wrote in between: a heartbeat, or the job's end
        raise redis.TimeoutError(f"job {job_id} changed at each of {_MAX_RACES} attempts to cancel it")

    def _try_to_cancel(self, job_id: str) -> bool:
        with self._blocking.pipeline() as pipeline:
            pipeline.watch(Job.key_for(job_id))
            try:
                job = Job.fetch(job_id, connection=self._blocking, serializer=JSONSerializer)
            except NoSuchJobError:
                return False
            status = job.get_status(refresh=False)
            if status in _ENDS:
                raise JobEnded(status)
            pipeline.multi()
            job.cancel(pipeline=pipeline)
            pipeline.hset(job.key, "ended_at", utcformat(now()))
            job.cleanup(self._ttl, pipeline=pipeline)
            pipeline.execute()
        if status is JobStatus.STARTED:
            # Suppressed: the worker has just let go of it. What it finishes is refused, for the job is canceled.
            with contextlib.suppress(InvalidJobOperation, NoSuchJobError):
                send_stop_job_command(self._blocking, job_id, serializer=JSONSerializer)
        return True

    def _create(self, job_id: str, request: GenerationRequest) -> Job:
        options = enqueue_options(request)
        options["timeout"] = options.pop("job_timeout")
        options |= {"result_ttl": self._ttl, "failure_ttl": FAILED_KEPT * self._ttl}
        # So that the worker's lines about the job can name the request that it came from.
        meta = {"request_id": request_id} if (request_id := current_request_id.get()) is not None else {}
        return self._queue.create_job(JOB_FUNCTION, kwargs=request.to_kwargs(), job_id=job_id, meta=meta, **options)

    def _read(
        self, job_id: str, fields: dict[bytes, bytes], progress: dict[bytes, bytes], results: list[Any]
    ) -> JobRecord | None:
        if b"data" not in fields:
            return None  # expired, or the remains of a job that a late heartbeat wrote
        job = Job(job_id, connection=self._blocking, serializer=JSONSerializer)
        job.restore(fields)
        latest = None
        if results:
            entry_id, payload = results[0]
            latest = Result.restore(job_id, entry_id.decode(), payload, self._blocking, serializer=JSONSerializer)
        status = job.get_status(refresh=False)
        result = failure = None
        try:
            done = Progress.from_hash(progress)
            request = GenerationRequest.from_kwargs(job.kwargs)
            if status is JobStatus.FINISHED:
                if latest is None:
                    return None  # expired in this very moment
                result = GenerationResult.from_json(latest.return_value)
        except ValueError:
            return None  # not a job of ours
        if status is JobStatus.FAILED:
            failure = FailureReason.from_text(latest.exc_string if latest else None)
        return JobRecord(
            id=job_id,
            request=request,
            status=status,
            created_at=job.created_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            progress=done,
            position=None,
            result=result,
            failure=failure,
        )

    async def _find_positions(self, records: dict[str, JobRecord]) -> None:
        """Fills in where queued jobs stand: one more round trip, only when there are any."""
        queued = [job_id for job_id, record in records.items() if record.status is JobStatus.QUEUED]
        if not queued:
            return
        async with self._redis.pipeline(transaction=False) as pipeline:
            for job_id in queued:
                pipeline.lpos(QUEUE_KEY, job_id)
            positions = await pipeline.execute()
        for job_id, position in zip(queued, positions, strict=True):
            records[job_id] = dataclasses.replace(records[job_id], position=position)


_ENDS: Final = frozenset({JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED})


def _queued(job: Job, request: GenerationRequest) -> JobRecord:
    return JobRecord(
        id=job.id,
        request=request,
        status=JobStatus.QUEUED,
        created_at=job.created_at,
        started_at=None,
        ended_at=None,
        progress=Progress(),
        position=None,
        result=None,
        failure=None,
    )
