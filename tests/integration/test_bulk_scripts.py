"""The scripts of worker/bulk_scripts.py write what RQ itself writes, key by key, and nothing twice.

When this fails, RQ has changed what it keeps of a job: change the scripts alike before the pin is moved.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, cast

import pytest
import redis
from rq.executions import Execution, prepare_execution
from rq.job import Job
from rq.utils import now
from rq.worker import BaseWorker, WorkerStatus

from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs
from worker import bulk_scripts, rq_internals
from worker.batch_worker import BatchWorker, OpenWorkshop
from worker.generation_queue import GenerationQueue
from worker.lease import LEASE_FIELD, Finish, Lease
from worker.protocol import GenerationResult, ImageRecord, image_name
from worker.settings import WorkerSettings

REVISION = "0123456789ab"
RESULT = GenerationResult(REVISION, (ImageRecord(1, image_name(REVISION, 1, 2), 8, 8, 99, "ab" * 32),), 0.25)
TTL = 15
OURS = {LEASE_FIELD.encode(), b"bouquet_starts"}
"""What RQ knows nothing of."""


@pytest.fixture
def worker(client: redis.Redis, valkey: ValkeyServer) -> BatchWorker:
    """A worker that does nothing by itself."""

    def open_workshop() -> OpenWorkshop:
        raise AssertionError("it is not to work")

    settings = WorkerSettings.from_environ({}, redis_url=valkey.url, lease_seconds=TTL)
    worker = BatchWorker(settings, client, "worker", open_workshop)
    register(worker)
    return worker


def register(worker: BatchWorker) -> None:
    worker.register_birth()  # type: ignore[no-untyped-call]  # RQ's


def queue_of(worker: BatchWorker) -> GenerationQueue:
    return cast(GenerationQueue, worker.queues[0])


def take(worker: BatchWorker, limit: int = 1) -> list[Any]:
    return rq_internals.take(worker, queue_of(worker), limit)


def start(worker: BatchWorker, limit: int = 1) -> list[Lease]:
    return rq_internals.start(worker, queue_of(worker), take(worker, limit), TTL)


def everything(client: redis.Redis, hidden: dict[bytes, bytes]) -> dict[bytes, Any]:
    """All that Redis has, with times to live; `hidden` are ids, each with what it is to be called here."""

    def renamed(value: Any) -> Any:
        if isinstance(value, bytes):
            for text, name in hidden.items():
                value = value.replace(text, name)
            return value
        if isinstance(value, dict):
            return {renamed(key): renamed(item) for key, item in value.items() if key not in OURS}
        return [renamed(item) for item in value] if isinstance(value, list | tuple) else value

    readers: dict[bytes, Callable[[bytes], Any]] = {
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"set": lambda key: sorted(renamed(item) for item in cast(Any, client.smembers(key))),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"stream": lambda key: [fields for _, fields in cast(Any, client.xrange(key))],
        b"string": client.get,
    }
    keys = cast(list[bytes], list(client.scan_iter(count=1000)))
    return {renamed(key): (renamed(readers[cast(bytes, client.type(key))](key)), client.ttl(key)) for key in keys}


class Clock:
    """Has RQ and the scripts' callers see the same time, and makes the ids of executions predictable."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moment = now()
        for module in ("rq.job", "rq.executions", "rq.results", "rq.queue", "worker.rq_internals"):
            monkeypatch.setattr(f"{module}.now", lambda: self.moment)
        for module in ("rq.registry", "rq.executions"):
            monkeypatch.setattr(f"{module}.current_timestamp", lambda: int(self.moment.timestamp()))
        monkeypatch.setattr("worker.rq_internals.time.time", lambda: self.moment.timestamp())


def rq_takes(worker: BatchWorker, client: redis.Redis) -> Job:
    queue = queue_of(worker)
    entry = cast(bytes, client.lmove(queue.key, queue.intermediate_queue_key))
    job = rq_internals.fetch_taken(worker, queue, entry)
    assert job is not None
    return job


def rq_starts(worker: BatchWorker, job: Job) -> Execution:
    """As BaseWorker.execute_job begins, and `prepare_job_execution` goes on; the execution is kept for longer."""
    queue = queue_of(worker)
    execution = prepare_execution(worker, job)
    with worker.connection.pipeline() as pipeline:
        job.prepare_for_execution(worker.name, pipeline=pipeline)
        pipeline.lrem(queue.intermediate_queue_key, 1, job.id)
        pipeline.delete(queue.intermediate_queue.get_first_seen_key(job.id))
        pipeline.persist(job.key)
        execution.save(TTL + 120, pipeline=pipeline)
        pipeline.execute()
    return execution


def rq_finishes(worker: BatchWorker, job: Job, execution: Execution, moment: dt.datetime) -> None:
    job.ended_at = moment
    job._result = RESULT.to_json()
    BaseWorker.handle_job_success(worker, job, queue_of(worker), job.started_job_registry, execution)


def test_scripts_write_what_rq_writes(
    worker: BatchWorker, client: redis.Redis, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    birth = cast(bytes, client.dump(worker.key))
    posted = jobs.post(2, 1)
    job = rq_takes(worker, client)
    execution = rq_starts(worker, job)
    hidden = {posted.id.encode(): b"JOB", execution.id.encode(): b"EXECUTION"}
    started_by_rq = everything(client, hidden)
    clock.moment += dt.timedelta(seconds=3)
    rq_finishes(worker, job, execution, clock.moment)
    worker.set_state(WorkerStatus.BUSY)  # as it is between two jobs
    finished_by_rq = everything(client, hidden)

    client.flushall()
    register(worker)
    client.delete(worker.key)
    client.restore(worker.key, 1000 * worker.worker_ttl, birth)
    clock.moment -= dt.timedelta(seconds=3)
    posted = jobs.post(2, 1)
    (held,) = start(worker)
    hidden = {posted.id.encode(): b"JOB", held.execution.id.encode(): b"EXECUTION"}
    started = everything(client, hidden)
    clock.moment += dt.timedelta(seconds=3)
    assert rq_internals.finish(worker, [Finish(held, RESULT)]) == set()
    finished = everything(client, hidden)

    for ours, theirs in ((started, started_by_rq), (finished, finished_by_rq)):
        worker_key = worker.key.encode()
        # Its life is ours to choose: that of a lease (worker/batch_worker.py).
        assert (ours[worker_key][0], ours[worker_key][1] <= TTL) == (theirs[worker_key][0], True)
        rest = ours.keys() - {worker_key}
        assert rest == theirs.keys() - {worker_key}
        for key in rest:
            assert ours[key][0] == theirs[key][0]
            assert abs(ours[key][1] - theirs[key][1]) <= 5, "times to live: seconds that have passed, and no more"


def test_many_jobs_are_taken_started_and_finished_in_a_round_trip_each(
    worker: BatchWorker, client: redis.Redis, jobs: Jobs
) -> None:
    first = jobs.post(2, 100)
    rq_internals.finish(worker, [Finish(lease, RESULT) for lease in start(worker)])  # from now on the scripts are known
    posted = [jobs.post(2, number) for number in range(20)]
    commands = []
    original = client.connection_pool.get_connection

    def counting(*arguments: Any, **options: Any) -> Any:
        commands.append(arguments)
        return original(*arguments, **options)

    client.connection_pool.get_connection = counting  # type: ignore[method-assign]
    leases = start(worker, 20)
    assert rq_internals.finish(worker, [Finish(lease, RESULT) for lease in leases]) == set()
    client.connection_pool.get_connection = original  # type: ignore[method-assign]
    assert len(commands) == 3
    assert [jobs.successes(job) for job in (first, *posted)] == [1] * 21
    assert worker.executions == {}


def test_of_the_waiting_jobs_a_worker_takes_its_part(worker: BatchWorker, jobs: Jobs, client: redis.Redis) -> None:
    for number in range(7):
        jobs.post(2, number)
    assert len(rq_internals.take(worker, queue_of(worker), 32, among=3)) == 3
    assert len(rq_internals.take(worker, queue_of(worker), 32, among=3)) == 2
    assert len(rq_internals.take(worker, queue_of(worker), 32)) == 2
    assert rq_internals.take(worker, queue_of(worker), 32, among=3) == []


def again(worker: BatchWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every script is sent twice, as when a connection breaks before the answer comes."""
    original = worker.connection.register_script

    def register(text: str) -> Callable[..., Any]:
        script = original(text)

        def run(keys: list[str], arguments: list[Any]) -> Any:
            script(keys, arguments)
            return script(keys, arguments)

        return run

    monkeypatch.setattr(worker.connection, "register_script", register)


def test_a_script_that_is_sent_twice_does_its_work_once(
    worker: BatchWorker, client: redis.Redis, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted = [jobs.post(2, number) for number in range(3)]
    taken = take(worker, 3)
    again(worker, monkeypatch)
    leases = rq_internals.start(worker, queue_of(worker), taken, TTL)
    assert [lease.job_id for lease in leases] == [job.id for job in posted]
    assert client.hget(posted[0].key, "bouquet_starts") == b"1"
    assert rq_internals.finish(worker, [Finish(lease, RESULT) for lease in leases]) == set()
    assert [jobs.successes(job) for job in posted] == [1, 1, 1]
    assert client.hget(worker.key, "successful_job_count") == b"3"


@pytest.mark.parametrize("meanwhile", ["canceled", "taken over", "gone"])
def test_what_is_no_longer_ours_is_not_finished(
    worker: BatchWorker, client: redis.Redis, jobs: Jobs, meanwhile: str
) -> None:
    lost, kept = jobs.post(2, 1), jobs.post(2, 2)
    leases = start(worker, 2)
    if meanwhile == "canceled":
        lost.cancel()
    elif meanwhile == "taken over":
        client.hset(lost.key, LEASE_FIELD, "another's")
    else:
        client.delete(lost.key)
    before = client.dump(lost.key)
    assert rq_internals.finish(worker, [Finish(lease, RESULT) for lease in leases]) == {lost.id}
    assert client.dump(lost.key) == before
    assert jobs.successes(kept) == 1
    assert not client.exists(f"rq:results:{lost.id}")


@pytest.mark.parametrize(
    ("status", "leased", "starts"),
    [("queued", False, True), ("started", False, True), ("started", True, False), ("canceled", False, False)],
)
def test_only_what_waits_or_is_nobodys_is_started(
    worker: BatchWorker, client: redis.Redis, jobs: Jobs, status: str, leased: bool, starts: bool
) -> None:
    job = jobs.post(2, 1)
    taken = take(worker)
    client.hset(job.key, mapping={"status": status, LEASE_FIELD: "somebody"})
    if leased:
        client.zadd(queue_of(worker).started_job_registry.key, {f"{job.id}:somebody": 2**40})
    leases = rq_internals.start(worker, queue_of(worker), taken, TTL)
    assert [lease.job_id for lease in leases] == [job.id] * starts
    assert client.llen(queue_of(worker).intermediate_queue_key) == 0


def test_a_job_that_others_depend_on_is_finished_by_rqs_means(
    worker: BatchWorker, client: redis.Redis, jobs: Jobs
) -> None:
    first = jobs.post(2, 1)
    later = jobs.queue.enqueue("worker.tasks.generate", kwargs={"steps": 2, "seed": 2, "count": 1}, depends_on=first)
    (held,) = start(worker)
    assert rq_internals.finish(worker, [Finish(held, RESULT)]) == set()
    assert jobs.successes(first) == 1
    assert client.lrange(queue_of(worker).key, 0, -1) == [later.id.encode()]


def test_scripts_are_sent_again_to_a_queue_that_has_forgotten_them(
    worker: BatchWorker, client: redis.Redis, jobs: Jobs
) -> None:
    jobs.post(2, 1)
    client.script_flush()
    (held,) = start(worker)
    client.script_flush()
    assert rq_internals.finish(worker, [Finish(held, RESULT)]) == set()


def test_the_keys_in_the_scripts_are_rqs(client: redis.Redis) -> None:
    job = Job("ID", connection=client)
    execution = Execution("EXECUTION", "ID", client, "worker")
    scripts = bulk_scripts.START + bulk_scripts.FINISH
    for key in (job.key, job.dependencies_key, execution.key, "rq:executions:ID", "rq:results:ID"):
        prefix = key.split("ID")[0]
        assert f"'{prefix}' .." in scripts, prefix
    assert job.dependents_key == f"{job.key}:dependents"
