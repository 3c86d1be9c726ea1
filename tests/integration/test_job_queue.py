"""The front end's side of the queue, against a real Valkey."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from app.claims import Claim, Claims
from app.errors import ApiError, ProblemCode
from app.job_ids import FOREIGN_IMAGE_STEPS, new_job_id
from app.job_queue import JOBS_KEY, JobEnded, JobQueue
from app.queue_load import LoadMeter
from app.submission import Submitter
from app.tether import Tether
from app.valkey import EmbeddedValkey, stop
from tests.processes import poll
from worker.directory_store import DirectoryStore
from worker.protocol import (
    MODEL_KEY,
    QUEUE_NAME,
    RESULT_TTL,
    RETRIES,
    GenerationRequest,
    GenerationResult,
    ImageRecord,
    Progress,
    WorkerReadiness,
    image_name,
    progress_key,
    worker_ready_key,
)

REQUEST = GenerationRequest(steps=20, seed=7, count=2)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tether = Tether()
    server = EmbeddedValkey(tmp_path_factory.mktemp("home"), tether)
    process = server.spawn()
    try:
        poll(server.is_ready, "Valkey is ready")
        yield server.url
    finally:
        stop(process)
        tether.close()


@pytest.fixture
def blocking(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as connection:
        connection.flushall()
        yield connection


class Parts:
    def __init__(self, connection: redis.asyncio.Redis, blocking: redis.Redis, store: DirectoryStore) -> None:
        self.connection = connection
        self.blocking = blocking
        self.store = store
        self.queue = JobQueue(connection, blocking)
        self.meter = LoadMeter(connection)
        self.submitter = Submitter(connection, self.queue, self.meter, store, queue_limit=1000)


Run = Callable[[Callable[[Parts], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(url: str, blocking: redis.Redis, tmp_path: Path) -> Run:
    """Runs a coroutine with the front end's parts, in an event loop of its own."""

    def run(scenario: Callable[[Parts], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with redis.asyncio.Redis.from_url(url) as connection:
                await scenario(Parts(connection, blocking, DirectoryStore(tmp_path)))

        asyncio.run(main())

    return run


def test_rq_reads_what_was_submitted(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        record = await parts.submitter.submit(REQUEST)
        queue = Queue(QUEUE_NAME, connection=parts.blocking, serializer=JSONSerializer)
        assert queue.job_ids == [record.id]
        job = Job.fetch(record.id, connection=parts.blocking, serializer=JSONSerializer)
        assert job.kwargs == REQUEST.to_kwargs()
        assert job.origin == QUEUE_NAME
        assert job.retries_left == RETRIES
        assert job.result_ttl == RESULT_TTL
        assert job.ttl is None
        assert parts.blocking.ttl(job.key) == -1
        read = await parts.queue.read(record.id)
        assert read is not None
        assert (read.status, read.request, read.position) == (JobStatus.QUEUED, REQUEST, 0)

    run(scenario)


def test_a_submission_is_all_or_nothing(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        async with parts.connection.pipeline(transaction=True) as pipeline:
            parts.queue.write_job(pipeline, new_job_id(40), REQUEST)
            # Never sent: the front end dies here.
        assert parts.blocking.dbsize() == 0

    run(scenario)


def test_progress_of_a_running_job(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        record = await parts.submitter.submit(REQUEST)
        parts.blocking.hset(f"rq:job:{record.id}", "status", "started")
        parts.blocking.hset(progress_key(record.id), mapping=Progress(30, 1).to_hash())
        read = await parts.queue.read(record.id)
        assert read is not None
        assert read.progress == Progress(30, 1)
        assert read.position is None

    run(scenario)


def test_remains_of_a_job_are_no_job(run: Run) -> None:
    """A worker's late heartbeat may write into the hash of a job that has expired."""

    async def scenario(parts: Parts) -> None:
        job_id = new_job_id(20)
        parts.blocking.hset(f"rq:job:{job_id}", "last_heartbeat", "2026-01-01T00:00:00.000000Z")
        assert await parts.queue.read(job_id) is None

    run(scenario)


def test_cancel_and_end_race(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        record = await parts.submitter.submit(REQUEST)
        assert await parts.queue.cancel(record.id)
        with pytest.raises(JobEnded):
            await parts.queue.cancel(record.id)
        assert not await parts.queue.cancel(new_job_id(20))
        assert parts.blocking.llen(f"rq:queue:{QUEUE_NAME}") == 0
        assert 0 < parts.blocking.ttl(f"rq:job:{record.id}") <= RESULT_TTL

        finished = await parts.submitter.submit(REQUEST)
        parts.blocking.hset(f"rq:job:{finished.id}", "status", "finished")
        with pytest.raises(JobEnded):
            await parts.queue.cancel(finished.id)

    run(scenario)


def test_many_with_one_key_make_one_job(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        records = await asyncio.gather(*(parts.submitter.submit_once("key", "same", REQUEST) for _ in range(20)))
        assert len({record.id for record in records}) == 1
        assert parts.blocking.llen(f"rq:queue:{QUEUE_NAME}") == 1
        with pytest.raises(ApiError) as caught:
            await parts.submitter.submit_once("key", "other", REQUEST)
        assert caught.value.code is ProblemCode.IDEMPOTENCY_CONFLICT

    run(scenario)


def test_a_failed_flower_is_tried_again_and_a_failed_job_is_not(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        first = await parts.submitter.submit_once("key", "same", REQUEST)
        parts.blocking.hset(f"rq:job:{first.id}", "status", "failed")
        assert (await parts.submitter.submit_once("key", "same", REQUEST)).id == first.id
        second = await parts.submitter.submit_once("key", "same", REQUEST, again=True)
        assert second.id != first.id
        assert (await parts.submitter.submit_once("key", "same", REQUEST, again=True)).id == second.id

    run(scenario)


def test_a_claim_whose_job_is_gone_is_taken_over(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        claims = Claims(parts.connection)
        lost = Claim(new_job_id(20), "same")
        assert await claims.submit("key", lost, lambda pipeline: None) is None
        record = await parts.submitter.submit_once("key", "same", REQUEST)
        assert record.id != lost.job_id
        assert await claims.holder("key") == Claim(record.id, "same")

    run(scenario)


def test_the_load_is_read_off_the_queue(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        for count in (1, 2, 3):
            await parts.submitter.submit(GenerationRequest(steps=10, seed=1, count=count))
        parts.blocking.rpush(f"rq:queue:{QUEUE_NAME}", "somebody-elses-job")
        running = new_job_id(500)
        parts.blocking.zadd(f"rq:wip:{QUEUE_NAME}", {f"{running}:abc": time.time() + 60})
        parts.blocking.hset(progress_key(running), mapping=Progress(steps_done=120).to_hash())
        for name in ("one", "two"):
            parts.blocking.sadd(f"rq:workers:{QUEUE_NAME}", f"rq:worker:{name}")
            parts.blocking.set(worker_ready_key(name), WorkerReadiness("0123456789ab", 8, 50.0).to_json())
        parts.blocking.sadd(f"rq:workers:{QUEUE_NAME}", "rq:worker:dead")
        parts.blocking.set(MODEL_KEY, '{"revision": "0123456789ab"}')
        load = await parts.meter.look(max_age=0)
        assert load.ahead == [0, 10, 30, 60, 60 + FOREIGN_IMAGE_STEPS]
        assert (load.running, load.rate, load.workers, load.revision) == (380, 100.0, 2, "0123456789ab")

    run(scenario)


def test_full_until_there_is_room(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        big = GenerationRequest(steps=450, seed=1, count=2)
        first = await parts.submitter.submit(big)
        with pytest.raises(ApiError) as caught:
            await parts.submitter.submit(big)
        assert caught.value.code is ProblemCode.QUEUE_FULL
        assert parts.blocking.llen(f"rq:queue:{QUEUE_NAME}") == 1
        await parts.queue.cancel(first.id)
        await parts.meter.look(max_age=0)
        await parts.submitter.submit(big)

    run(scenario)


def test_many_at_once_do_not_get_over_the_limit(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        wish = GenerationRequest(steps=100, seed=1)
        results = await asyncio.gather(*(parts.submitter.submit(wish) for _ in range(40)), return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) == 10
        assert parts.blocking.llen(f"rq:queue:{QUEUE_NAME}") == 10

    run(scenario)


def test_a_job_on_its_way_is_counted_once_before_and_after_it_arrives(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        meter = LoadMeter(parts.connection)

        async def waiting() -> int:
            meter.expire()
            return (await meter.look()).waiting

        wish = GenerationRequest(steps=100, seed=1)
        job_id = new_job_id(wish.image_steps)
        meter.reserve(job_id, wish.image_steps, limit=1000)
        assert await waiting() == 100  # a look between the reservation and the writing
        async with parts.connection.pipeline(transaction=True) as pipeline:
            parts.queue.write_job(pipeline, job_id, wish)
            await pipeline.execute()
        assert await waiting() == 100
        meter.settle(job_id)
        assert await waiting() == 100
        meter.reserve(new_job_id(50), 50, limit=1000)
        meter.settle("never heard of")
        assert await waiting() == 150

    run(scenario)


def test_a_job_that_is_done_already(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        images = tuple(
            ImageRecord(seed, image_name("0123456789ab", seed, 20), 64, 64, 100, "0" * 64)
            for seed in REQUEST.image_seeds
        )
        result = GenerationResult("0123456789ab", images, 0.0)
        job_id = new_job_id(40)
        async with parts.connection.pipeline(transaction=True) as pipeline:
            written = parts.queue.write_finished_job(pipeline, job_id, REQUEST, result)
            await pipeline.execute()
        read = await parts.queue.read(job_id)
        assert read == written
        assert read.result == result
        queue = Queue(QUEUE_NAME, connection=parts.blocking, serializer=JSONSerializer)
        assert queue.job_ids == []
        assert queue.finished_job_registry.get_job_ids(cleanup=False) == [job_id]
        assert 0 < parts.blocking.ttl(f"rq:job:{job_id}") <= RESULT_TTL

    run(scenario)


def test_expired_jobs_leave_the_list(run: Run) -> None:
    async def scenario(parts: Parts) -> None:
        fresh = (await parts.submitter.submit(REQUEST)).id
        old = f"{0:012x}{'0' * 20}-20"  # of 1970
        kept = f"{1:012x}{'0' * 20}-20"  # as old, but still there: a failed job, say
        parts.blocking.zadd(JOBS_KEY, {old: 0, kept: 0})
        parts.blocking.hset(f"rq:job:{kept}", "status", "failed")
        assert await parts.queue.sweep() == 1
        assert await parts.queue.newest(None, 10) == [fresh, kept]

    run(scenario)
