"""What the front end does, free of HTTP: submit, look up, wait for, cancel and list jobs, and fetch flowers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Final, cast

from anyio import to_thread

from app.animation import animate
from app.claims import fingerprint
from app.errors import ApiError, FieldError, ProblemCode, queue_unavailable
from app.job_ids import is_job_id
from app.job_queue import JobEnded, JobQueue, JobRecord
from app.job_view import STATUSES, job_view
from app.known_kinds import KnownKinds
from app.metrics import FrontEndMetrics
from app.queue_load import LoadMeter
from app.schemas import GenerateBody, Job, JobPage, JobStatus
from app.submission import Submitter
from worker.protocol import MODEL_KEY, GenerationRequest, ImageAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import redis.asyncio

    from worker.store import ImageStore

    AsyncRedis = redis.asyncio.Redis

DRAWN_SEEDS: Final = 2**32
"""Seeds that the server draws are below this: enough never to meet one's own again, short enough to tell a friend."""

KEYED_SUBMISSIONS_AT_ONCE: Final = 24
"""Each has a connection to Redis to itself, to watch its key: fewer than there are (app/main.py), so that a flood
leaves some to those who only look. Those without a key share one."""

_TURN_SECONDS: Final = 10.0
"""After which a request that waits for its turn to submit is told to come again."""

_FIRST_PAUSE: Final = 0.01
_LAST_PAUSE: Final = 0.2
_READ_AT_ONCE: Final = 100
_READ_AT_MOST: Final = 1000
_AGE_OF_A_REVISION: Final = 1.0


class FlowerService:
    """One for each front end process. Holds nothing that another one would miss: any may answer for any job."""

    def __init__(
        self,
        connection: AsyncRedis,
        queue: JobQueue,
        submitter: Submitter,
        meter: LoadMeter,
        store: ImageStore,
        metrics: FrontEndMetrics,
    ) -> None:
        self._redis = connection
        self._queue = queue
        self._submitter = submitter
        self._meter = meter
        self._store = store
        self._metrics = metrics
        self._kinds = KnownKinds(connection, meter)
        self._submissions = asyncio.Semaphore(KEYED_SUBMISSIONS_AT_ONCE)

    async def submit(self, body: GenerateBody, idempotency_key: str | None = None) -> Job:
        """Makes a job of what was asked, or finds the one that the key already stands for.

        Raises:
            ApiError: `queue-full`, `idempotency-conflict` if the key was used for another request, or `invalid-request`
                if the bundle that is served does not know the kind.
        """
        await self._kinds.check(body.kind)
        seed = body.seed if body.seed is not None else secrets.randbelow(DRAWN_SEEDS)
        request = GenerationRequest(body.steps, seed, body.count, body.sampler, kind=body.kind)
        if idempotency_key is None:
            record = await self._submitter.submit(request)
        else:
            # As before there was a choice of samplers and kinds, for keys that were used then.
            choice: list[str] = [body.sampler] if body.sampler != "ddim" else []
            choice += [f"kind {body.kind}"] if body.kind is not None else []
            asked = fingerprint(body.steps, body.seed, body.count, *choice)
            async with self._turn():
                record = await self._submitter.submit_once(f"idempotency {idempotency_key}", asked, request)
        job = await self._view(record)
        self._metrics.accepted(stored=job.status.is_terminal)
        return job

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One's turn to submit under a key.

        Raises ApiError `queue-unavailable` if it does not come soon: nothing was written then.
        """
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._submissions.acquire()
        except TimeoutError:
            raise queue_unavailable() from None
        try:
            yield
        finally:
            self._submissions.release()

    async def job(self, job_id: str) -> Job:
        """The job. Raises ApiError `job-not-found`."""
        record = await self._queue.read(job_id)
        if record is None:
            raise job_not_found(job_id)
        return await self._view(record)

    async def wait(self, job: Job, seconds: float) -> Job:
        """The job as it is when it has ended, or when `seconds` have passed, whichever comes first."""
        if job.status.is_terminal or seconds <= 0:
            return job
        until = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, _LAST_PAUSE)
            status = await self._queue.status(job.id)
            if status is None or STATUSES[status].is_terminal:
                break
        return await self.job(job.id)

    async def cancel(self, job_id: str) -> Job:
        """Cancels a job that has not ended. Raises ApiError `job-not-found` or `job-ended`."""
        try:
            found = is_job_id(job_id) and await self._queue.cancel(job_id)
        except JobEnded as error:
            ended = STATUSES[error.status].value
            detail = f"The job {job_id} has already ended ({ended}); nothing was changed."
            raise ApiError(ProblemCode.JOB_ENDED, detail) from None
        if not found:
            raise job_not_found(job_id)
        self._meter.expire()
        return await self.job(job_id)

    async def jobs(self, status: JobStatus | None, limit: int, cursor: str | None) -> JobPage:
        """Up to `limit` jobs, newest first, made before the one that `cursor` names.

        One page looks at a thousand jobs at most, so that a rare status may need several pages.
        Raises ApiError `invalid-request` for a cursor that is none.
        """
        if cursor is not None and not is_job_id(cursor):
            error = FieldError("cursor", "is not the next_cursor of a page")
            raise ApiError(ProblemCode.INVALID_REQUEST, "cursor: is not the next_cursor of a page.", errors=[error])
        found: list[Job] = []
        seen = 0
        async for job_id, record in self._newest(cursor, limit + 1 if status is None else _READ_AT_ONCE):
            if len(found) == limit or seen == _READ_AT_MOST:
                return JobPage(jobs=found, next_cursor=cursor)
            cursor, seen = job_id, seen + 1
            if record is not None and status in (None, STATUSES[record.status]):
                found.append(await self._view(record))
        return JobPage(jobs=found, next_cursor=None)

    async def _newest(self, cursor: str | None, batch: int) -> AsyncIterator[tuple[str, JobRecord | None]]:
        """All jobs, newest first; None for those that have expired, which are taken off the list on the way."""
        while True:
            ids = await self._queue.newest(cursor, batch)
            records = await self._queue.read_many(ids)
            await self._queue.forget([key for key, record in zip(ids, records, strict=True) if record is None])
            for job_id, record in zip(ids, records, strict=True):
                yield job_id, record
            if len(ids) < batch:
                return
            cursor = ids[-1]

    async def image(self, address: ImageAddress) -> bytes | None:
        """The PNG at an exact address, if it is in the store."""
        return await to_thread.run_sync(self._store.get, address.name)

    async def served_revision(self) -> str:
        """The revision of the bundle that is served. Raises ApiError `not-ready` as long as there is none."""
        load = await self._meter.look()
        if load.revision is None:
            load = await self._meter.look(max_age=0)
        if load.revision is None:
            raise _no_model()
        return load.revision

    async def model(self) -> bytes:
        """The description of the bundle that is served, as JSON. Raises ApiError `not-ready` if there is none yet."""
        description = cast("bytes | None", await self._redis.get(MODEL_KEY))
        if description is None:
            raise _no_model()
        return description

    async def flower(self, address: ImageAddress, wait_seconds: float) -> bytes:
        """The PNG at an exact address of the served bundle, computed if need be.

        All who ask for the same flower at the same time wait for one job.
        Raises ApiError `flower-pending` if it is not there in time; asking again finds the job under way; and
        `invalid-request` for a kind that the bundle does not know.
        """
        await self._kinds.check(address.kind or None)
        request = GenerationRequest(
            address.steps,
            address.seed,
            sampler=address.sampler,
            after=address.after or None,
            kind=address.kind or None,
        )
        [picture] = await self._made(address.revision, request, f"flower {address.name}", wait_seconds)
        return picture

    async def morph(self, revision: str, request: GenerationRequest, wait_seconds: float) -> bytes:
        """The animation of a request with `toward`, by the served bundle, computed if need be; as `flower` does."""
        await self._kinds.check(request.kind)
        key = f"morph {revision} {request.steps} {request.sampler} {request.seed} {request.toward} {request.count}"
        if request.kind is not None:
            key += f" {request.kind}"
        return animate(await self._made(revision, request, key, wait_seconds))

    async def _made(self, revision: str, request: GenerationRequest, key: str, wait_seconds: float) -> list[bytes]:
        """The files of a request's images; the first who asks for them makes a job of it, which has the key."""
        names = [image.name(revision) for image in request.image_keys]
        pictures = await to_thread.run_sync(self._all_of, names)
        self._metrics.picture(hit=pictures is not None)
        if pictures is not None:
            return pictures
        async with self._turn():
            record = await self._submitter.submit_once(key, fingerprint(*names), request, again=True)
        job = await self.wait(await self._view(record), wait_seconds)
        if (pictures := await to_thread.run_sync(self._all_of, names)) is not None:
            return pictures
        raise _no_picture(job)

    def _all_of(self, names: list[str]) -> list[bytes] | None:
        """The files of these names, if all are in the store. Reads files."""
        pictures = []
        for name in names:
            if (picture := self._store.get(name)) is None:
                return None
            pictures.append(picture)
        return pictures

    async def image_again(self, address: ImageAddress, wait_seconds: float) -> bytes | None:
        """The PNG at an exact address, computed again if it is not kept any more; None if another bundle is served.

        None, too, for a frame of a morph, which is made again with all of it, and for a kind that the bundle does not
        know. Raises what `flower` raises.
        """
        if address.form != "png" or address.part:
            return None
        load = await self._meter.look()
        if load.revision != address.revision:
            load = await self._meter.look(max_age=_AGE_OF_A_REVISION)
        if load.revision != address.revision or (address.kind and not await self._kinds.may_know(address.kind)):
            return None
        return await self.flower(address, wait_seconds)

    async def picture_of(self, job: Job) -> bytes:
        """The PNG of an ended job of one image. Raises ApiError if there is none."""
        if job.images:
            name = job.images[0].url.rpartition("/")[2]
            if (picture := await to_thread.run_sync(self._store.get, name)) is not None:
                return picture
        raise _no_picture(job)

    async def _view(self, record: JobRecord) -> Job:
        return job_view(record, await self._meter.look())


def job_not_found(job_id: str) -> ApiError:
    """A 404 for an id that is unknown, or not known any more."""
    detail = f"There is no job {job_id[:64]!r}. Ended jobs are kept for a time only; POST /generate makes a new one."
    return ApiError(ProblemCode.JOB_NOT_FOUND, detail)


def _no_model() -> ApiError:
    detail = "No worker has told yet which bundle it serves. Is one running? `bouquet worker` starts one."
    return ApiError(ProblemCode.NOT_READY, detail, headers={"Retry-After": "5"})


def _no_picture(job: Job) -> ApiError:
    """Why there is no picture to show, although a job was made for it."""
    about = {"job": f"/jobs/{job.id}"}
    if job.status is JobStatus.FAILED:
        reason = job.error.detail if job.error is not None else "The reason is not known."
        code = {"job_code": job.error.code} if job.error is not None else {}
        return ApiError(ProblemCode.JOB_FAILED, reason, extra=about | code)
    if job.status is JobStatus.CANCELED:
        return ApiError(ProblemCode.JOB_CANCELED, f"The job {job.id} was canceled. Ask again.", extra=about)
    if job.status is JobStatus.SUCCEEDED:
        detail = f"The image of job {job.id} is not kept any more, or was made by another bundle. Ask again."
        return ApiError(ProblemCode.IMAGE_NOT_FOUND, detail, extra=about)
    eta = job.queue.eta_seconds if job.queue is not None else None
    retry_after = str(max(1, min(int(eta or 1) + 1, 60)))
    detail = f"The flower is being made. Ask again in {retry_after} seconds; /jobs/{job.id} tells how far it is."
    return ApiError(ProblemCode.FLOWER_PENDING, detail, headers={"Retry-After": retry_after}, extra=about)
