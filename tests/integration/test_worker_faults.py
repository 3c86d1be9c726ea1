"""What can befall a worker, with real processes, real signals and a real Valkey: nothing is lost, nothing done twice.

The workers are tests/light_worker.py, which hold their ticks while a file exists: so the fault strikes when it should.
"""

from __future__ import annotations

import datetime as dt
import io
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image
from rq.job import Job
from rq.registry import CanceledJobRegistry, FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.suspension import resume, suspend
from rq.utils import utcparse

from tests.integration.conftest import StartWorker
from tests.light_worker import REVISION, light_image
from tests.nursery import Nursery
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs, WorkerProcess
from worker.directory_store import DirectoryStore
from worker.generation_queue import GenerationQueue
from worker.png import encode_png
from worker.protocol import (
    JOB_FUNCTION,
    QUEUE_NAME,
    RETRIES,
    GenerationRequest,
    GenerationResult,
    enqueue_options,
    image_name,
    progress_key,
)

QUEUE_KEY = f"rq:queue:{QUEUE_NAME}"
INTERMEDIATE_KEY = f"{QUEUE_KEY}:intermediate"


class Light:
    """Starts light workers, and holds their ticks."""

    def __init__(self, start_worker: StartWorker, hold: Path) -> None:
        self._start = start_worker
        self._hold = hold

    def start(self, *options: str, **settings: object) -> WorkerProcess:
        return self._start("--hold", str(self._hold), *options, **settings)

    def hold(self) -> None:
        self._hold.touch()

    def release(self) -> None:
        self._hold.unlink()


@pytest.fixture
def light(start_light_worker: StartWorker, tmp_path: Path) -> Light:
    return Light(start_light_worker, tmp_path / "hold")


@pytest.fixture
def store(store_folder: Path) -> DirectoryStore:
    return DirectoryStore(store_folder)


@pytest.mark.parametrize("when", ["ready", "unanswered"])
def test_a_worker_that_is_told_to_stop_as_soon_as_it_is_seen_ends_in_order(
    when: str, nursery: Nursery, valkey: ValkeyServer, store_folder: Path, tmp_path: Path
) -> None:
    environment = {"BOUQUET_REDIS_URL": valkey.url, "BOUQUET_STORE": str(store_folder)}
    worker = WorkerProcess.start_light(nursery, "hasty", tmp_path / "log", environment, ("--told-to-stop", when))
    try:
        assert worker.wait() == 0, worker.tail()
    finally:
        worker.close()


def registered(client: redis.Redis) -> dict[str, int]:
    kinds = (StartedJobRegistry, FinishedJobRegistry, FailedJobRegistry, CanceledJobRegistry)
    return {kind.__name__: int(client.zcard(kind(QUEUE_NAME, connection=client).key)) for kind in kinds}


def check_pixels(store: DirectoryStore, results: Sequence[GenerationResult], steps: int) -> None:
    for result in results:
        assert result.images
        for image in result.images:
            data = store.get(image.name)
            assert data is not None
            assert image.name == image_name(REVISION, image.seed, steps)
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), light_image(image.seed, steps))


def check_rest(client: redis.Redis, jobs: Sequence[Job], book: Jobs) -> None:
    """Nothing is left lying about once all jobs have ended."""
    assert client.llen(QUEUE_KEY) == 0
    assert client.llen(INTERMEDIATE_KEY) == 0
    poll(lambda: registered(client)["StartedJobRegistry"] == 0, "no job counts as started")
    assert [book.successes(job) for job in jobs] == [1] * len(jobs)


def begin(book: Jobs, posts: Sequence[tuple[int, int, int]]) -> list[Job]:
    """Posts jobs to a held worker and waits until it has begun them all."""
    jobs = [book.post(*post) for post in posts]
    for job in jobs:
        book.until(job, "started")
    return jobs


def test_a_killed_workers_jobs_are_recovered_by_another(
    light: Light, jobs: Jobs, client: redis.Redis, store: DirectoryStore
) -> None:
    light.hold()
    first = light.start()
    posted = begin(jobs, [(20, 100 * number, 3) for number in range(5)])
    second = light.start()
    first.kill()
    light.release()
    check_pixels(store, jobs.finish(posted), 20)
    check_rest(client, posted, jobs)
    assert {jobs.retries_left(job) for job in posted} == {RETRIES - 1}
    assert second.stop() == 0


def test_recovery_takes_no_longer_than_the_lease_and_a_look(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    first = light.start(lease_seconds=3)
    (job,) = begin(jobs, [(20, 1, 1)])
    light.start(lease_seconds=3)
    first.kill()
    light.release()
    jobs.until(job, "finished", seconds=3 + 0.3 + 10.0)  # a second for RQ's whole seconds, the rest for a busy machine


def test_short_jobs_are_finished_at_sigterm_and_long_ones_go_back(
    light: Light, jobs: Jobs, client: redis.Redis, store: DirectoryStore
) -> None:
    first = light.start("--step-seconds", "0.005")
    long = jobs.post(1000, 7, 8)  # 8 slots: five seconds at least, with a drain limit of three
    short = jobs.post(20, 1)
    jobs.until(long, "started")
    jobs.until(short, "started", "finished")
    assert first.stop() == 0
    assert jobs.status(short) == "finished"
    assert jobs.status(long) == "queued"
    assert jobs.retries_left(long) == RETRIES
    assert client.lrange(QUEUE_KEY, 0, -1) == [long.id.encode()]
    assert registered(client)["StartedJobRegistry"] == 0
    light.start()
    check_pixels(store, jobs.finish([long, short])[:1], 1000)
    check_rest(client, [long, short], jobs)


def test_jobs_go_back_in_the_order_they_came(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    worker = light.start(drain_seconds=0)
    posted = begin(jobs, [(50, number, 1) for number in range(6)])
    worker.send(signal.SIGTERM)
    poll(lambda: client.llen(QUEUE_KEY) == 6, "all are given back")
    assert client.lrange(QUEUE_KEY, 0, -1) == [job.id.encode() for job in posted]
    light.release()
    assert worker.wait() == 0


def test_a_second_signal_gives_everything_back_at_once(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    worker = light.start(drain_seconds=600)
    (job,) = begin(jobs, [(5, 1, 1)])
    worker.send(signal.SIGINT)

    def gave_back() -> bool:
        worker.send(signal.SIGINT)  # those within a second of the first count as the same
        return client.llen(QUEUE_KEY) == 1

    poll(gave_back, "the job is given back")
    assert jobs.retries_left(job) == RETRIES
    light.release()
    assert worker.wait() == 0


def test_a_worker_stopped_beyond_its_lease_finishes_nothing(
    light: Light, jobs: Jobs, client: redis.Redis, store: DirectoryStore
) -> None:
    light.hold()
    sleeper = light.start()
    posted = begin(jobs, [(20, 1, 2), (30, 50, 1)])
    sleeper.send(signal.SIGSTOP)
    light.release()
    light.start()
    results = jobs.finish(posted)
    sleeper.send(signal.SIGCONT)
    poll(lambda: "gone to another worker" in sleeper.tail(), "the sleeper notices")
    assert sleeper.stop() == 0
    check_pixels(store, results[:1], 20)
    check_rest(client, posted, jobs)


def test_a_hung_worker_ends_itself_and_others_take_over(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    hung = light.start(stall_seconds=1)
    (job,) = begin(jobs, [(20, 1, 1)])
    poll(lambda: registered(client)["StartedJobRegistry"] == 1, "it has a lease")
    assert hung.wait(30) == 70
    assert "no progress" in hung.tail()
    light.release()
    light.start()
    jobs.finish([job])
    check_rest(client, [job], jobs)


def test_a_slow_tick_is_not_taken_for_a_hang(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    worker = light.start(lease_seconds=2, stall_seconds=60)
    (job,) = begin(jobs, [(20, 1, 1)])
    job.refresh()
    started = job.started_at
    key = StartedJobRegistry(QUEUE_NAME, connection=client).key
    first = client.zrange(key, 0, -1, withscores=True)
    poll(lambda: client.zrange(key, 0, -1, withscores=True)[0][1] >= first[0][1] + 3, "the lease is renewed", 20)
    light.release()
    jobs.finish([job])
    job.refresh()
    assert job.started_at == started
    assert jobs.retries_left(job) == RETRIES
    assert worker.is_running


def test_a_poison_job_fails_alone_and_says_why(
    light: Light, jobs: Jobs, client: redis.Redis, store: DirectoryStore
) -> None:
    light.hold()
    light.start("--poison", "13")
    mates = [jobs.post(20, 100 * number, 2) for number in range(1, 4)]
    poisoned = jobs.post(20, 13)
    for job in (*mates, poisoned):
        jobs.until(job, "started")
    light.release()
    jobs.until(poisoned, "failed")
    assert jobs.failure(poisoned).code == "computation-failed"
    assert "seed 13 at 20 steps" in jobs.failure(poisoned).detail
    assert "poisonous" in jobs.failure(poisoned).detail
    check_pixels(store, jobs.finish(mates), 20)
    check_rest(client, mates, jobs)


def test_a_device_that_runs_out_of_memory_gets_smaller_batches(
    light: Light, jobs: Jobs, client: redis.Redis, store: DirectoryStore
) -> None:
    worker = light.start("--most", "3")  # of 8 slots; batches of 1, 2, 4 and 8 are compiled
    posted = [jobs.post(20, 100 * number, 3) for number in range(4)]
    check_pixels(store, jobs.finish(posted), 20)
    check_rest(client, posted, jobs)
    assert {jobs.retries_left(job) for job in posted} == {RETRIES}
    assert "the device has not the memory for 4 images; 2 from now on" in worker.tail()


def test_a_job_that_kills_its_worker_takes_no_other_along(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    """However often they are recovered together: once two workers have died under a job, it runs alone."""
    light.hold()
    worker = light.start("--death", "13")
    mates = [jobs.post(20, 100 * number, 2) for number in range(1, 4)]
    deadly = jobs.post(20, 13)
    for job in (*mates, deadly):
        jobs.until(job, "started")
    later = [jobs.post(5, seed) for seed in (1, 2)]
    light.release()
    deaths = 0

    def ended() -> bool:
        nonlocal worker, deaths
        if not worker.is_running:
            deaths += 1
            worker = light.start("--death", "13")
        return jobs.status(deadly) == "failed"

    poll(ended, "the deadly job is given up", 90)
    assert jobs.failure(deadly).code == "worker-lost"
    assert deaths == RETRIES + 1
    jobs.finish(mates + later)
    assert min(jobs.retries_left(job) or 0 for job in mates + later) >= RETRIES - 2
    check_rest(client, mates + later, jobs)


def test_a_store_that_cannot_be_written_fails_the_job_with_the_reason(
    light: Light, jobs: Jobs, store_folder: Path
) -> None:
    worker = light.start()
    (good,) = jobs.finish([jobs.post(2, 1)])
    store_folder.rename(store_folder.with_name("gone"))
    store_folder.write_text("not a folder")
    job = jobs.post(2, 2, 3)
    jobs.until(job, "failed")
    assert jobs.failure(job).code == "store-failed"
    assert "Not a directory" in jobs.failure(job).detail
    assert list(store_folder.parent.rglob(".incoming/*")) == []
    store_folder.unlink()
    store_folder.with_name("gone").rename(store_folder)
    jobs.finish([jobs.post(2, 2, 3)])
    assert worker.is_running
    assert good.images[0].seed == 1


def test_jobs_survive_a_restart_of_the_queue(
    light: Light, jobs: Jobs, client: redis.Redis, valkey: ValkeyServer, store: DirectoryStore
) -> None:
    light.hold()
    worker = light.start(jobs_held=2)
    running = begin(jobs, [(20, 1, 1), (20, 2, 1)])
    waiting = [jobs.post(20, seed) for seed in (3, 4, 5)]
    valkey.stop()
    light.release()
    valkey.start()
    check_pixels(store, jobs.finish(running + waiting), 20)
    check_rest(client, running + waiting, jobs)
    assert worker.is_running
    assert worker.stop() == 0


def test_a_worker_waits_out_a_queue_that_is_away(
    light: Light, jobs: Jobs, client: redis.Redis, valkey: ValkeyServer
) -> None:
    worker = light.start(lease_seconds=2)
    jobs.finish([jobs.post(1, 1)])
    valkey.stop()
    poll(lambda: "trouble with the queue" in worker.tail(), "it notices")
    valkey.start()
    jobs.finish([jobs.post(1, 2)])
    poll(lambda: worker.is_ready(client), "it says that it is ready")
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (("CONFIG SET", "maxmemory", "1"), ("CONFIG SET", "maxmemory", "0")),
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    ],
    ids=["is full", "is a replica"],
)
def test_an_idle_worker_waits_out_a_queue_that_refuses_to_write(
    light: Light, jobs: Jobs, client: redis.Redis, fault: Sequence[str], remedy: Sequence[str]
) -> None:
    worker = light.start()
    jobs.finish([jobs.post(1, 1)])
    client.execute_command(*fault)
    poll(lambda: "trouble with the queue" in worker.tail() or not worker.is_running, "it notices")
    client.execute_command(*remedy)
    assert worker.is_running, worker.tail()
    jobs.finish([jobs.post(1, 2)])
    assert worker.stop() == 0


def test_a_worker_that_meets_what_nobody_foresaw_does_not_end_as_if_in_order(light: Light, client: redis.Redis) -> None:
    worker = light.start()
    registry = StartedJobRegistry(QUEUE_NAME, connection=client)
    client.zadd(registry.key, {"one:too:many": 1})  # which names no execution that was ever made
    assert worker.wait() == 70, worker.tail()


def test_a_suspended_worker_is_not_taken_for_hung(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    worker = light.start(stall_seconds=0.5, lease_seconds=2)
    [key] = client.smembers("rq:workers")

    def beat() -> dt.datetime:
        text = client.hget(key, "last_heartbeat")  # None: it was held up until its key lapsed, and beats again
        return utcparse(text.decode()) if text else dt.datetime.min.replace(tzinfo=dt.UTC)

    suspend(client)
    poll(lambda: client.hget(key, "state") == b"suspended", "it is suspended")
    long_after = beat() + dt.timedelta(seconds=0.5 + 2 * 2 + 1)  # by then one that hangs has ended itself
    poll(lambda: not worker.is_running or beat() > long_after, "it beats on", 30)
    assert worker.is_running, worker.tail()
    resume(client)
    jobs.finish([jobs.post(1, 1)])
    assert worker.stop() == 0


def test_a_job_stranded_before_its_start_goes_back_with_no_retry_spent(
    light: Light, jobs: Jobs, client: redis.Redis
) -> None:
    """As a worker leaves it that is killed between the move to the intermediate list and the start."""
    job = jobs.post(2, 1)
    assert client.lmove(QUEUE_KEY, INTERMEDIATE_KEY) == job.id.encode()
    light.start()
    jobs.finish([job], seconds=30)
    assert jobs.retries_left(job) == RETRIES
    check_rest(client, [job], jobs)


def test_a_maintenance_lock_of_a_killed_worker_holds_nobody_up(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    first = light.start()
    (job,) = begin(jobs, [(2, 1, 1)])
    first.kill()
    queue = GenerationQueue(QUEUE_NAME, connection=client)
    poll(queue.acquire_maintenance_lock, "the lock is to be had")  # the one that was killed may have had it
    light.release()
    light.start()
    jobs.finish([job], seconds=20)


def test_images_stored_before_a_kill_are_not_computed_again(
    light: Light, jobs: Jobs, client: redis.Redis, store: DirectoryStore
) -> None:
    light.hold()
    first = light.start()
    (job,) = begin(jobs, [(2, 1, 1)])
    name = image_name(REVISION, 1, 2)
    first.kill()
    planted = encode_png(light_image(1, 2), {"planted": "by the test"})
    store.put(name, planted)
    light.release()
    light.start()
    (result,) = jobs.finish([job])
    assert result.images[0].bytes == len(planted)
    assert store.get(name) == planted


def test_a_duplicate_of_a_running_job_is_dropped(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    light.start()
    (job,) = begin(jobs, [(5, 1, 1)])
    client.rpush(QUEUE_KEY, job.id, job.id)
    poll(lambda: client.llen(QUEUE_KEY) == 0 and client.llen(INTERMEDIATE_KEY) == 0, "the duplicates are gone")
    light.release()
    jobs.finish([job])
    client.rpush(QUEUE_KEY, job.id)  # of a finished job too
    poll(lambda: client.llen(QUEUE_KEY) == 0 and client.llen(INTERMEDIATE_KEY) == 0, "the duplicate is gone")
    check_rest(client, [job], jobs)


def test_two_workers_share_the_work(light: Light, jobs: Jobs, client: redis.Redis, store: DirectoryStore) -> None:
    light.hold()
    light.start()
    light.start()
    posted = [jobs.post(20, 10 * number, 2) for number in range(40)]  # more than one may hold
    poll(lambda: client.llen(QUEUE_KEY) == 0, "all are taken")
    light.release()
    check_pixels(store, jobs.finish(posted), 20)
    for job in posted:
        job.refresh()
    by = [sum(job.worker_name.startswith(name) for job in posted) for name in ("worker1-", "worker2-")]
    assert min(by) >= 5, by
    check_rest(client, posted, jobs)


def test_progress_is_shown_while_a_job_runs(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.start("--step-seconds", "0.02")
    job = jobs.post(100, 1, 2)
    poll(lambda: int(client.hget(progress_key(job.id), "steps_done") or 0) > 20, "there is progress")
    assert 0 < client.ttl(progress_key(job.id)) <= 3600
    jobs.finish([job])


def test_a_job_past_its_deadline_fails(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.start("--step-seconds", "0.05")
    request = GenerationRequest(1000, 1)
    options = enqueue_options(request) | {"job_timeout": 1}
    late = jobs.queue.enqueue(JOB_FUNCTION, kwargs=request.to_kwargs(), **options)
    jobs.until(late, "failed")
    assert jobs.failure(late).code == "deadline-exceeded"
    jobs.finish([jobs.post(1, 1)])


def test_waiting_for_a_slot_is_not_counted(light: Light, jobs: Jobs, client: redis.Redis) -> None:
    light.hold()
    worker = light.start(slots=1)
    [first] = begin(jobs, [(20, 1, 1)])
    request = GenerationRequest(20, 2)
    options = enqueue_options(request) | {"job_timeout": 3}
    patient = jobs.queue.enqueue(JOB_FUNCTION, kwargs=request.to_kwargs(), **options)
    jobs.until(patient, "started")
    long_after = time.monotonic() + 3.5
    poll(lambda: time.monotonic() > long_after, "its time would be over")
    light.release()
    jobs.finish([first, patient])
    assert worker.stop() == 0
