"""Whose job it is when leases lapse though nobody died: workers or queue were stopped, and go on as if nothing was."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from rq.job import Job
from rq.queue import Queue
from rq.registry import StartedJobRegistry
from rq.utils import as_text
from rq.worker import WorkerStatus

from tests.integration.conftest import StartWorker
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs
from worker import rq_internals
from worker.batch_worker import BatchWorker, OpenWorkshop
from worker.generation_job import GenerationJob
from worker.generation_queue import GenerationQueue
from worker.lease import Finish, Lease
from worker.protocol import QUEUE_NAME, RETRIES, GenerationResult, progress_key
from worker.settings import WorkerSettings

REVISION = "0123456789ab"


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    hold = tmp_path / "hold"
    hold.touch()
    return hold


def leases(client: redis.Redis) -> dict[str, float]:
    """Job id -> when the lease on it lapses, as RQ writes it."""
    entries = client.zrange(StartedJobRegistry(QUEUE_NAME, connection=client).key, 0, -1, withscores=True)
    return {as_text(cast(bytes, entry)).split(":")[0]: float(until) for entry, until in cast(list[Any], entries)}


def begin(jobs: Jobs, client: redis.Redis, number: int) -> list[Job]:
    """Posts jobs to held workers, and waits until they have them well in hand: all leases have been renewed once."""
    begun = [jobs.post(20, 100 * index, 2) for index in range(number)]
    for job in begun:
        jobs.until(job, "started")
        job.refresh()
    first = leases(client)
    poll(lambda: all(until > first[job_id] for job_id, until in leases(client).items()), "the leases are renewed")
    return begun


def wait_until_lapsed(lapses: dict[str, float]) -> None:
    poll(lambda: time.time() > max(lapses.values()) + 1, "the leases have lapsed", 30)


def check_undisturbed(jobs: Jobs, posted: list[Job]) -> None:
    """Each job was done by the worker that began it."""
    begun_by = {job.id: job.worker_name for job in posted}
    jobs.finish(posted)
    for job in posted:
        job.refresh()
    assert {job.id: job.worker_name for job in posted} == begun_by
    assert [job.retries_left for job in posted] == [RETRIES] * len(posted)


def is_idle(client: redis.Redis, name: str) -> bool:
    (key,) = client.scan_iter(f"rq:worker:{name}-*")
    return client.hget(key, "state") == b"idle"


def test_a_worker_that_was_stopped_alone_keeps_its_jobs(
    start_light_worker: StartWorker, hold: Path, jobs: Jobs, client: redis.Redis
) -> None:
    worker = start_light_worker("--hold", str(hold), lease_seconds=3, beat_seconds=1)
    posted = begin(jobs, client, 4)
    worker.send(signal.SIGSTOP)
    wait_until_lapsed(leases(client))
    worker.send(signal.SIGCONT)
    poll(lambda: min(leases(client).values(), default=0) > time.time(), "the leases are renewed")
    hold.unlink()
    check_undisturbed(jobs, posted)


def test_workers_keep_their_jobs_when_the_queue_was_stopped(
    start_light_worker: StartWorker, hold: Path, jobs: Jobs, client: redis.Redis, valkey: ValkeyServer
) -> None:
    for _ in range(3):
        start_light_worker("--hold", str(hold), jobs_held=2, lease_seconds=3, beat_seconds=1)
    posted = begin(jobs, client, 6)
    lapses = leases(client)
    valkey.send(signal.SIGSTOP)
    wait_until_lapsed(lapses)
    valkey.send(signal.SIGCONT)
    poll(lambda: min(leases(client).values(), default=0) > time.time(), "the leases are renewed")
    hold.unlink()
    check_undisturbed(jobs, posted)


def test_a_new_worker_leaves_the_others_time_to_renew_their_leases(
    start_light_worker: StartWorker, hold: Path, jobs: Jobs, client: redis.Redis
) -> None:
    """For the queue may have been away just before: the first look around would take all jobs for abandoned."""
    first = start_light_worker("--hold", str(hold), lease_seconds=6, beat_seconds=2.5)
    posted = begin(jobs, client, 4)
    first.send(signal.SIGSTOP)
    wait_until_lapsed(leases(client))
    start_light_worker("--hold", str(hold), lease_seconds=6, beat_seconds=2.5)
    poll(lambda: is_idle(client, "worker2"), "it has had its first look around")
    first.send(signal.SIGCONT)
    poll(lambda: min(leases(client).values(), default=0) > time.time(), "the leases are renewed")
    hold.unlink()
    check_undisturbed(jobs, posted)


def make_worker(client: redis.Redis, valkey: ValkeyServer, name: str) -> BatchWorker:
    """A worker that does nothing by itself."""

    def open_workshop() -> OpenWorkshop:
        raise AssertionError("it is not to work")

    settings = WorkerSettings.from_environ({}, redis_url=valkey.url)
    return BatchWorker(settings, client, name, open_workshop)


def lease(worker: BatchWorker, ttl: int = 100) -> Lease:
    queue = worker.queues[0]
    assert isinstance(queue, GenerationQueue)
    (begun,) = rq_internals.start(worker, queue, rq_internals.take(worker, queue, 1), ttl)
    return begun


def lapse(client: redis.Redis, lapsed: Lease) -> None:
    client.zadd(StartedJobRegistry(QUEUE_NAME, connection=client).key, {lapsed.execution.composite_key: 1})


def test_a_job_finished_while_it_is_being_recovered_is_not_run_again(
    jobs: Jobs, client: redis.Redis, valkey: ValkeyServer
) -> None:
    """Its worker wakes between the other's look at the job and the writing of what follows from it."""
    owner, other = make_worker(client, valkey, "owner"), make_worker(client, valkey, "other")
    job = jobs.post(2, 1)
    held = lease(owner)
    lapse(client, held)
    finishes = [Finish(held, GenerationResult(REVISION, (), 0.1))]

    class Racing(GenerationJob):
        def retry(self, queue: Queue, pipeline: Any) -> None:
            while finishes:
                assert rq_internals.finish(owner, [finishes.pop()]) == set()
            super().retry(queue, pipeline)

    other.queues[0].job_class = Racing
    other.run_maintenance_tasks()
    assert not finishes
    assert jobs.status(job) == "finished"
    assert jobs.retries_left(job) == RETRIES
    assert client.llen(jobs.queue.key) == 0
    assert jobs.successes(job) == 1
    assert leases(client) == {}


def test_a_lapsed_lease_does_not_end_a_newer_one(jobs: Jobs, client: redis.Redis, valkey: ValkeyServer) -> None:
    first, second, third = (make_worker(client, valkey, name) for name in ("first", "second", "third"))
    job = jobs.post(2, 1)
    lapsed = lease(first)
    assert rq_internals.give_back(first, [lapsed]) == set()
    current = lease(second)
    lapse(client, lapsed)
    third.run_maintenance_tasks()
    assert jobs.status(job) == "started"
    assert jobs.retries_left(job) == RETRIES
    assert rq_internals.finish(second, [Finish(current, GenerationResult(REVISION, (), 0.1))]) == set()
    assert jobs.successes(job) == 1
    assert leases(client) == {}


def test_a_job_without_retries_fails_when_its_worker_dies(
    jobs: Jobs, client: redis.Redis, valkey: ValkeyServer
) -> None:
    owner, other = make_worker(client, valkey, "owner"), make_worker(client, valkey, "other")
    job = jobs.post(2, 1)
    for left in range(RETRIES, -1, -1):
        assert jobs.retries_left(job) == left
        lapse(client, lease(owner))
        other.run_maintenance_tasks()
    assert jobs.status(job) == "failed"
    assert jobs.failure(job).code == "worker-lost"
    assert jobs.successes(job) == 0
    assert client.llen(jobs.queue.key) == 0
    assert leases(client) == {}


def test_a_lease_on_a_job_that_is_gone_is_cleared_away(jobs: Jobs, client: redis.Redis, valkey: ValkeyServer) -> None:
    owner, other = make_worker(client, valkey, "owner"), make_worker(client, valkey, "other")
    job = jobs.post(2, 1)
    lapse(client, lease(owner))
    client.delete(job.key)
    other.run_maintenance_tasks()
    assert leases(client) == {}
    assert client.llen(jobs.queue.key) == 0
    assert not client.exists(job.key)


@pytest.mark.parametrize("meanwhile", ["nothing", "recovered", "renewed"])
def test_a_job_can_be_canceled_after_its_lease_has_lapsed(
    jobs: Jobs, client: redis.Redis, valkey: ValkeyServer, meanwhile: str
) -> None:
    """RQ lists executions for a minute longer than it keeps them, and cannot cancel a job that has such a one."""
    owner, other = make_worker(client, valkey, "owner"), make_worker(client, valkey, "other")
    owner.register_birth()
    job = jobs.post(2, 1)
    held = lease(owner, ttl=1)
    wait_until_lapsed(leases(client))
    if meanwhile == "recovered":
        other.run_maintenance_tasks()
        assert not client.exists(f"rq:executions:{job.id}", held.execution.key)
        assert not client.exists("rq:worker:owner:executions")
    elif meanwhile == "renewed":
        assert rq_internals.renew(owner, [held], 1) == set()
    job.cancel()
    assert jobs.status(job) == "canceled"
    assert leases(client) == {}
    assert not [key for key in client.scan_iter("rq:exec*") if client.ttl(key) == -1]


def test_what_is_done_while_the_queue_is_away_is_booked_before_a_worker_ends(
    start_light_worker: StartWorker, jobs: Jobs, client: redis.Redis, valkey: ValkeyServer, store_folder: Path
) -> None:
    """Also if it was asked to stop, and the time that it has for that is long over."""
    store_folder.write_text("not a folder: the image waits to be stored")
    worker = start_light_worker(lease_seconds=2, drain_seconds=0, store_seconds=60)
    job = jobs.post(1, 1)
    poll(lambda: client.hget(progress_key(job.id), "steps_done") == b"1", "it is computed")
    lapses = leases(client)
    valkey.send(signal.SIGSTOP)
    wait_until_lapsed(lapses)  # and the worker waits for the queue
    worker.send(signal.SIGTERM)
    asked_at = time.monotonic()
    store_folder.unlink()
    poll(lambda: any(store_folder.rglob("*.png")), "the image is stored")
    poll(lambda: time.monotonic() > asked_at + 3, "the worker's time is over")
    valkey.send(signal.SIGCONT)
    assert worker.wait() == 0
    assert jobs.status(job) == "finished"
    assert jobs.retries_left(job) == RETRIES
    assert leases(client) == {}


@pytest.mark.parametrize("how", ["does not answer", "refuses connections"])
def test_nothing_is_lost_or_done_twice_while_the_queue_is_away_for_long(
    start_light_worker: StartWorker, hold: Path, jobs: Jobs, client: redis.Redis, valkey: ValkeyServer, how: str
) -> None:
    """Away beyond two leases; meanwhile jobs that run come to their end, and can be booked only afterwards."""
    options = {"jobs_held": 2, "lease_seconds": 3, "beat_seconds": 1}
    workers = [start_light_worker("--hold", str(hold), **options) for _ in range(2)]
    running = begin(jobs, client, 4)
    waiting = [jobs.post(20, 10_000 + number) for number in range(6)]
    lapses = leases(client)
    if how == "does not answer":
        valkey.send(signal.SIGSTOP)
    else:
        valkey.stop()
    hold.unlink()
    poll(lambda: time.time() > max(lapses.values()) + 3, "the leases have lapsed for long", 30)
    if how == "does not answer":
        valkey.send(signal.SIGCONT)
    else:
        valkey.start()
    jobs.finish(running + waiting, seconds=60)
    assert [jobs.successes(job) for job in running + waiting] == [1] * 10
    assert {jobs.retries_left(job) for job in running + waiting} == {RETRIES}
    assert leases(client) == {}
    assert all(worker.is_running for worker in workers)


def test_a_worker_that_is_stopped_while_the_queue_is_gone_ends_all_the_same(
    start_light_worker: StartWorker, hold: Path, jobs: Jobs, client: redis.Redis, valkey: ValkeyServer
) -> None:
    worker = start_light_worker("--hold", str(hold), lease_seconds=2, drain_seconds=1)
    posted = begin(jobs, client, 2)
    valkey.stop()
    hold.unlink()
    worker.send(signal.SIGTERM)
    assert worker.wait(60) == 0
    valkey.start()
    start_light_worker()
    jobs.finish(posted)
    assert [jobs.successes(job) for job in posted] == [1, 1]
    assert {jobs.retries_left(job) for job in posted} == {RETRIES - 1}


def test_a_worker_whose_registration_has_lapsed_registers_anew(client: redis.Redis, valkey: ValkeyServer) -> None:
    """Whoever writes into it first: the main thread, or the one that beats."""
    worker = make_worker(client, valkey, "worker")
    worker.register_birth()
    whole = set(client.hkeys(worker.key))
    client.delete(worker.key, "rq:workers", f"rq:workers:{QUEUE_NAME}")
    worker.heartbeat()
    rq_internals.renew(worker, [], 5)
    assert whole <= set(client.hkeys(worker.key))
    assert client.smembers("rq:workers") == {worker.key.encode()}
    assert client.smembers(f"rq:workers:{QUEUE_NAME}") == {worker.key.encode()}


def test_nothing_of_a_worker_that_dies_lasts_for_ever(jobs: Jobs, client: redis.Redis, valkey: ValkeyServer) -> None:
    """Not even if its registration lapsed just before, so that what it writes makes a new one."""
    worker = make_worker(client, valkey, "worker")
    worker.register_birth()
    jobs.post(2, 1)
    client.delete(worker.key)
    held = lease(worker)
    assert client.ttl(worker.key) > 0
    client.delete(worker.key)
    assert rq_internals.finish(worker, [Finish(held, GenerationResult(REVISION, (), 0.1))]) == set()
    assert client.ttl(worker.key) > 0
    client.delete(worker.key)
    worker.set_state(WorkerStatus.IDLE)
    assert client.ttl(worker.key) > 0
