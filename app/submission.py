"""How a request becomes a job: at once if its images exist, else in the queue if there is room, and only once a key."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from app.claims import Claim, Claims
from app.errors import ApiError, ProblemCode
from app.job_ids import new_job_id
from app.job_queue import JobQueue, JobRecord
from app.job_view import STATUSES
from app.queue_load import LoadMeter, QueueLoad
from app.shared_post import SharedPost
from app.stored import stored_result
from worker.protocol import RESULT_TTL, GenerationRequest, GenerationResult

if TYPE_CHECKING:
    import redis.asyncio

    from worker.store import ImageStore

    AsyncRedis = redis.asyncio.Redis
    AsyncPipeline = redis.asyncio.client.Pipeline

RETRY_WITHOUT_WORKER: Final = 30
"""Seconds of Retry-After while there is no worker whose rate would tell."""

LONGEST_RETRY: Final = 3600

_AGE_OF_A_REFUSAL: Final = 0.1
"""Seconds by which the load may be old that a request is refused for. Not 0: refusing must stay cheap in a flood."""


class Submitter:
    """Decides what a request becomes, and writes it. Nothing is written of what is refused."""

    def __init__(
        self,
        connection: AsyncRedis,
        queue: JobQueue,
        meter: LoadMeter,
        store: ImageStore,
        queue_limit: int,
        job_ttl: int = RESULT_TTL,
    ) -> None:
        self._post = SharedPost(connection)
        self._queue = queue
        self._meter = meter
        self._store = store
        self._claims = Claims(connection, job_ttl)
        self._limit = queue_limit

    async def submit(self, request: GenerationRequest) -> JobRecord:
        """Makes a new job. Raises ApiError `queue-full`."""
        submission = await self._decide(request)
        try:
            await self._post.send(submission.write)
        finally:
            self._meter.settle(submission.job_id)
        return submission.record

    async def submit_once(
        self, key: str, fingerprint: str, request: GenerationRequest, *, again: bool = False
    ) -> JobRecord:
        """The job that holds `key`, a new one if none does.

        `again`: what it made is not there, so a job that has ended is no answer, and a new one takes its place.
        Raises ApiError `queue-full`, or `idempotency-conflict` if the key's fingerprint is another one.
        """
        held = await self._claims.holder(key)
        while True:
            if held is not None:
                if held.fingerprint != fingerprint:
                    detail = "This Idempotency-Key was used for another request. Take a new key for a new request."
                    raise ApiError(ProblemCode.IDEMPOTENCY_CONFLICT, detail)
                record = await self._queue.read(held.job_id)
                if record is not None and not (again and STATUSES[record.status].is_terminal):
                    return record
            submission = await self._decide(request)
            claim = Claim(submission.job_id, fingerprint)
            try:
                held = await self._claims.submit(key, claim, submission.write, replacing=held)
            finally:
                self._meter.settle(submission.job_id)
            if held is None:
                return submission.record

    async def _decide(self, request: GenerationRequest) -> _Submission:
        load = await self._meter.look()
        job_id = new_job_id(request.image_steps)
        if load.revision is not None:
            result = await to_thread.run_sync(stored_result, self._store, load.revision, request)
            if result is not None:
                return _Submission(self._queue, job_id, request, result=result)
        position = self._meter.reserve(job_id, request.image_steps, self._limit)
        if position is None:  # but perhaps only by what was there a moment ago
            load = await self._meter.look(max_age=_AGE_OF_A_REFUSAL)
            position = self._meter.reserve(job_id, request.image_steps, self._limit)
        if position is None:
            raise queue_full(load, request.image_steps, self._limit)
        return _Submission(self._queue, job_id, request, position=position)


class _Submission:
    """A job that is decided on. `record` is there once it has been written."""

    def __init__(
        self,
        queue: JobQueue,
        job_id: str,
        request: GenerationRequest,
        *,
        position: int | None = None,
        result: GenerationResult | None = None,
    ) -> None:
        self.job_id = job_id
        self._queue = queue
        self._request = request
        self._position = position
        self._result = result
        self._record: JobRecord | None = None

    def write(self, pipeline: AsyncPipeline) -> None:
        """Adds the job to a transaction; once more for another attempt at it."""
        if self._result is not None:
            self._record = self._queue.write_finished_job(pipeline, self.job_id, self._request, self._result)
        else:
            record = self._queue.write_job(pipeline, self.job_id, self._request)
            self._record = dataclasses.replace(record, position=self._position)

    @property
    def record(self) -> JobRecord:
        if self._record is None:
            raise RuntimeError("the job has not been written yet")
        return self._record


def queue_full(load: QueueLoad, image_steps: int, limit: int) -> ApiError:
    """A 429 whose Retry-After is when there will be room, at the rate that the workers measured."""
    seconds = load.seconds_until_room(image_steps, limit)
    retry_after = RETRY_WITHOUT_WORKER if seconds is None else min(max(math.ceil(seconds), 1), LONGEST_RETRY)
    detail = (
        f"{load.waiting} image-steps are waiting and {limit} may; this request has {image_steps}. "
        f"Try again in {retry_after} seconds, or ask for fewer steps or images."
    )
    return ApiError(
        ProblemCode.QUEUE_FULL,
        detail,
        headers={"Retry-After": str(retry_after)},
        extra={"queued_image_steps": load.waiting, "limit_image_steps": limit, "retry_after": retry_after},
    )
