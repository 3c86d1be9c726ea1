"""A production worker, started once, with a real network and a real Valkey: what it does with jobs of every kind."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from PIL import Image
from rq import Queue
from rq.command import send_stop_job_command
from rq.job import Callback, Job
from rq.registry import CanceledJobRegistry, FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from model.bundle import Bundle, load_bundle
from model.classes import class_of
from model.sampling import Sampler
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs, WorkerProcess
from worker.directory_store import DirectoryStore
from worker.lease import LEASE_FIELD
from worker.png import read_metadata
from worker.protocol import (
    FAILURE_TTL,
    JOB_FUNCTION,
    MODEL_KEY,
    QUEUE_NAME,
    READY_KEY_PATTERN,
    RESULT_TTL,
    RETRIES,
    GenerationRequest,
    WorkerReadiness,
    enqueue_options,
    image_name,
)

MEGABYTE = 2**20


class House:
    """One Valkey and one worker for all tests of this file."""

    def __init__(self, folder: Path, bundle_path: Path) -> None:
        self.folder = folder
        self.store = DirectoryStore(folder / "images")
        self.valkey = ValkeyServer(folder / "queue")
        self.valkey.start()
        self.client = self.valkey.connect()
        self.jobs = Jobs(self.client)
        self.environment = {
            "BOUQUET_REDIS_URL": self.valkey.url,
            "BOUQUET_STORE": str(self.store.root),
            "BOUQUET_BUNDLE": str(bundle_path),
        }
        self.worker = self.start_worker("first")

    def start_worker(self, name: str) -> WorkerProcess:
        worker = WorkerProcess.start(name, self.folder / f"{name}.log", self.environment)
        poll(lambda: worker.is_ready(self.client), f"{name} is ready", 180)
        return worker

    def close(self) -> None:
        self.worker.close()
        self.client.close()
        self.valkey.close()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, tiny_bundle_path: Path) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"), tiny_bundle_path)
    yield house
    house.close()


@pytest.fixture
def jobs(house: House) -> Jobs:
    return house.jobs


@pytest.fixture
def client(house: House) -> redis.Redis:
    return house.client


@pytest.fixture(scope="module")
def bundle(tiny_bundle_path: Path) -> Bundle:
    return load_bundle(tiny_bundle_path)


@pytest.fixture(scope="module")
def sampler(bundle: Bundle) -> Sampler:
    return Sampler(bundle)


def score(client: redis.Redis, kind: type, job: Job) -> float | None:
    return client.zscore(kind(QUEUE_NAME, connection=client).key, job.id)


def test_jobs_of_all_lengths_give_everyones_own_images(
    house: House, jobs: Jobs, bundle: Bundle, sampler: Sampler
) -> None:
    requests = [(1, 7, 1), (20, 7, 1), (20, 5, 4), (50, 100, 3), (3, 1000, 10), (7, 2**53 - 1, 1), (13, 0, 2)]
    results = jobs.finish([jobs.post(*request) for request in requests])
    for (steps, seed, count), result in zip(requests, results, strict=True):
        assert result.revision == bundle.revision
        assert [image.seed for image in result.images] == list(range(seed, seed + count))
        for image in result.images:
            assert image.name == image_name(bundle.revision, image.seed, steps)
            assert (image.width, image.height) == (bundle.image_size, bundle.image_size)
            data = house.store.get(image.name)
            assert data is not None
            assert image.bytes == len(data)
            alone = sampler.sample([image.seed], steps)[0]
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), alone)
            kind = bundle.class_names[class_of(image.seed, bundle.class_counts)]
            assert read_metadata(data)["bouquet:kind"] == image.kind == kind


def test_the_same_request_gives_the_same_bytes_computed_anew_or_not(house: House, jobs: Jobs) -> None:
    (first,) = jobs.finish([jobs.post(20, 31337)])
    name = first.images[0].name
    data = house.store.get(name)
    house.store.delete(name)
    (second, batch) = jobs.finish([jobs.post(20, 31337), jobs.post(20, 31335, 4)])
    assert house.store.get(name) == data
    assert second.images == first.images
    assert batch.images[2] == first.images[0]


def test_an_image_says_how_it_is_made_again(house: House, jobs: Jobs, bundle: Bundle) -> None:
    (result,) = jobs.finish([jobs.post(4, 99)])
    metadata = read_metadata(house.store.get(result.images[0].name) or b"")
    assert metadata["bouquet:bundle-hash"] == bundle.content_hash
    assert metadata["bouquet:bundle"] == bundle.name
    assert (metadata["bouquet:seed"], metadata["bouquet:steps"]) == ("99", "4")


def test_it_says_what_it_serves_and_that_it_is_ready(client: redis.Redis, bundle: Bundle) -> None:
    assert json.loads(client.get(MODEL_KEY) or b"") == json.loads(json.dumps(bundle.description()))
    (key,) = client.scan_iter(READY_KEY_PATTERN)
    assert 0 < client.ttl(key) <= 2
    readiness = WorkerReadiness.from_json(client.get(key) or b"")
    assert readiness.revision == bundle.revision
    assert readiness.slots == 8
    assert readiness.image_steps_per_second > 10


def test_rqs_own_books_are_right(client: redis.Redis, jobs: Jobs, house: House) -> None:
    worker_key = next(iter(client.smembers("rq:workers")))
    before = int(client.hget(worker_key, "successful_job_count") or 0)
    job = jobs.post(5, 424242, 2)
    jobs.finish([job])
    assert int(client.hget(worker_key, "successful_job_count") or 0) == before + 1
    assert float(client.hget(worker_key, "total_working_time") or 0) > 0
    assert score(client, FinishedJobRegistry, job) is not None
    assert 0 < client.ttl(job.key) <= RESULT_TTL
    assert 0 < client.ttl(f"rq:results:{job.id}") <= RESULT_TTL
    poll(lambda: client.zcard(StartedJobRegistry(QUEUE_NAME, connection=client).key) == 0, "nothing is started")
    assert not client.exists(f"rq:executions:{job.id}")
    job.refresh()
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.enqueued_at is not None
    assert job.enqueued_at <= job.started_at <= job.ended_at
    assert job.worker_name is not None
    assert job.worker_name.startswith("first-")


def test_rq_info_shows_the_worker_and_what_it_runs(house: House, client: redis.Redis, jobs: Jobs) -> None:
    job = jobs.post(1000, 5150, 64)
    jobs.until(job, "started")
    command = [sys.executable, "-m", "rq.cli", "info", "--url", house.valkey.url, "--raw"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    worker_name = next(iter(client.smembers("rq:workers"))).decode().removeprefix("rq:worker:")
    running = client.smembers(f"rq:worker:{worker_name}:executions")
    assert [entry.decode().split(":")[0] for entry in running] == [job.id]
    assert worker_name in output, output
    assert "busy" in output, output
    job.cancel()
    send_stop_job_command(client, job.id, serializer=JSONSerializer)
    poll(lambda: client.scard(f"rq:worker:{worker_name}:executions") == 0, "it runs nothing")


def test_a_canceled_job_gives_its_slots_up(house: House, client: redis.Redis, jobs: Jobs) -> None:
    long = jobs.post(1000, 1, 64)
    jobs.until(long, "started")
    long.cancel()
    send_stop_job_command(client, long.id, serializer=JSONSerializer)
    poll(lambda: client.zcard(StartedJobRegistry(QUEUE_NAME, connection=client).key) == 0, "its execution is gone")
    jobs.finish([jobs.post(10, 2)], seconds=20)
    assert jobs.status(long) == "canceled"
    assert jobs.successes(long) == 0
    assert score(client, CanceledJobRegistry, long) is not None
    poll(lambda: 0 < client.ttl(long.key) <= FAILURE_TTL, "it is not kept for ever")


def test_a_job_canceled_without_a_command_is_noticed_at_the_next_beat(client: redis.Redis, jobs: Jobs) -> None:
    long = jobs.post(1000, 90_000, 64)
    jobs.until(long, "started")
    long.cancel()
    poll(lambda: not client.exists(f"rq:executions:{long.id}"), "its execution is gone")
    assert jobs.status(long) == "canceled"


def test_a_job_canceled_while_it_waits_never_starts(client: redis.Redis, jobs: Jobs) -> None:
    suspend(client)
    worker_key = next(iter(client.smembers("rq:workers")))
    poll(lambda: client.hget(worker_key, "state") == b"suspended", "nothing is taken")
    job = jobs.post(5, 1)
    job.cancel()
    client.rpush(f"rq:queue:{QUEUE_NAME}", job.id)  # as if it had been taken just before
    resume(client)
    poll(lambda: client.llen(f"rq:queue:{QUEUE_NAME}") == 0, "it is taken")
    jobs.finish([jobs.post(1, 6)])
    assert jobs.status(job) == "canceled"
    assert jobs.successes(job) == 0
    assert client.llen(f"rq:queue:{QUEUE_NAME}:intermediate") == 0


def test_a_job_stopped_through_rq_counts_as_stopped(client: redis.Redis, jobs: Jobs) -> None:
    long = jobs.post(1000, 50_000, 64)
    jobs.until(long, "started")
    send_stop_job_command(client, long.id, serializer=JSONSerializer)
    jobs.until(long, "stopped")
    assert jobs.failure(long).code == "stopped"
    assert jobs.retries_left(long) == RETRIES


@pytest.mark.parametrize(
    ("function", "kwargs", "extras", "code", "words"),
    [
        ("os.system", {"command": "true"}, {}, "foreign-job", "os.system"),
        ("worker.tasks.other", {}, {}, "foreign-job", "worker.tasks.generate"),
        (JOB_FUNCTION, {"steps": 0, "seed": 1, "count": 1}, {}, "invalid-request", "steps"),
        (JOB_FUNCTION, {"steps": 5, "seed": 1}, {}, "invalid-request", "count"),
        (JOB_FUNCTION, {"steps": 5, "seed": 1, "count": 1, "x": 2}, {}, "invalid-request", "x"),
        (JOB_FUNCTION, {"steps": 5, "seed": 1, "count": 1, "kind": "thistle"}, {}, "invalid-request", "thistle"),
        (
            JOB_FUNCTION,
            {"steps": 5, "seed": 1, "count": 1},
            {"on_success": Callback("os.abort")},
            "foreign-job",
            "success callback",
        ),
        (
            JOB_FUNCTION,
            {"steps": 5, "seed": 1, "count": 1},
            {"on_failure": Callback("os.abort"), "on_stopped": Callback("os.abort")},
            "foreign-job",
            "failure callback",
        ),
    ],
)
def test_a_foreign_job_is_refused_and_harms_nobody(
    house: House,
    jobs: Jobs,
    function: str,
    kwargs: dict[str, object],
    extras: dict[str, object],
    code: str,
    words: str,
) -> None:
    options = enqueue_options(GenerationRequest(1, 1)) | extras
    foreign = jobs.queue.enqueue(function, kwargs=kwargs, **options)
    good = jobs.post(3, 3)
    jobs.until(foreign, "failed")
    assert jobs.failure(foreign).code == code
    assert words in jobs.failure(foreign).detail
    jobs.finish([good])
    assert house.worker.is_running


def test_pickled_and_garbled_jobs_are_refused(house: House, client: redis.Redis, jobs: Jobs) -> None:
    pickled = Queue(QUEUE_NAME, connection=client).enqueue("os.system", "true")
    torn = Job.create(JOB_FUNCTION, connection=client, serializer=JSONSerializer, origin=QUEUE_NAME)
    torn.save()
    client.hset(torn.key, mapping={"status": "queued", "created_at": "the day before yesterday"})
    client.rpush(f"rq:queue:{QUEUE_NAME}", torn.id)
    poll(lambda: score(client, FailedJobRegistry, pickled) is not None, "the pickled job has failed")
    poll(lambda: score(client, FailedJobRegistry, torn) is not None, "the torn job has failed")
    assert client.hget(torn.key, "status") == b"failed"
    assert 0 < client.ttl(torn.key) <= FAILURE_TTL
    poll(lambda: client.llen(f"rq:queue:{QUEUE_NAME}:intermediate") == 0, "nothing is left on the way")
    jobs.finish([jobs.post(3, 4)])
    assert house.worker.is_running


@pytest.mark.parametrize(
    ("key", "seed"), [(f"rq:queue:{QUEUE_NAME}", 1_234_567), (f"rq:queue:{QUEUE_NAME}:intermediate", 1_234_568)]
)
def test_an_entry_that_is_no_text_is_thrown_away(
    house: House, client: redis.Redis, jobs: Jobs, key: str, seed: int
) -> None:
    """Into a worker that waits, into one at work, and left behind by one that died."""
    client.rpush(key, b"\xff\xfe")
    poll(lambda: client.llen(key) == 0, "the one that waits throws it away")
    long = jobs.post(1000, seed)
    jobs.until(long, "started")
    client.rpush(key, b"\xff\xfd")
    good = jobs.post(3, 5)
    jobs.finish([good, long])
    poll(lambda: client.llen(f"rq:queue:{QUEUE_NAME}:intermediate") == 0, "nothing is left on the way")
    assert house.worker.is_running


def test_the_same_image_wanted_twice_at_once_is_stored_once(house: House, jobs: Jobs) -> None:
    results = jobs.finish([jobs.post(40, 777_777, 3) for _ in range(6)])
    assert len({result.images for result in results}) == 1


def test_an_image_in_the_store_is_not_computed_again(house: House, jobs: Jobs, bundle: Bundle) -> None:
    (first,) = jobs.finish([jobs.post(1000, 888_888)])
    (again,) = jobs.finish([jobs.post(1000, 888_888)])
    assert again.images == first.images
    assert again.run_seconds < max(0.2, first.run_seconds / 2)


def test_a_torn_image_in_the_store_is_made_again(house: House, jobs: Jobs, bundle: Bundle) -> None:
    (first,) = jobs.finish([jobs.post(6, 999_999)])
    path = house.store.path(first.images[0].name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    jobs.finish([jobs.post(6, 999_999)])
    assert path.read_bytes() == whole


def test_a_job_that_others_depend_on_lets_them_go(client: redis.Redis, jobs: Jobs) -> None:
    first = jobs.post(300, 1_000_000)
    request = GenerationRequest(2, 1_000_001)
    second = jobs.queue.enqueue(JOB_FUNCTION, kwargs=request.to_kwargs(), depends_on=first, **enqueue_options(request))
    jobs.finish([first, second])


def test_a_suspended_worker_takes_nothing_until_it_is_resumed(client: redis.Redis, jobs: Jobs) -> None:
    suspend(client)
    worker_key = next(iter(client.smembers("rq:workers")))
    poll(lambda: client.hget(worker_key, "state") == b"suspended", "it is suspended")
    job = jobs.post(1, 55)
    assert jobs.status(job) == "queued"
    resume(client)
    jobs.finish([job])


def test_a_worker_is_light_enough(house: House) -> None:
    status = Path(f"/proc/{house.worker.process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc here")
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
    assert int(line.split()[1]) * 1024 < 1000 * MEGABYTE


def test_killed_and_replaced_it_loses_nothing(house: House, client: redis.Redis, jobs: Jobs, sampler: Sampler) -> None:
    """Last, since it ends the worker of this file."""
    running = [jobs.post(400, 2_000_000 + 10 * number, 2) for number in range(3)]
    for job in running:
        jobs.until(job, "started")
    waiting = [jobs.post(5, 3_000_000 + number) for number in range(50)]
    house.worker.kill()
    house.worker = house.start_worker("second")
    results = jobs.finish(running + waiting, seconds=90)
    for result, steps in ((results[0], 400), (results[-1], 5)):
        image = result.images[-1]
        pixels = np.asarray(Image.open(io.BytesIO(house.store.get(image.name) or b"")))
        np.testing.assert_array_equal(pixels, sampler.sample([image.seed], steps)[0])
    assert all(jobs.successes(job) == 1 for job in running + waiting)
    assert client.hget(running[0].key, LEASE_FIELD) is not None
    assert not [key for key in client.scan_iter("rq:execution:*") if client.ttl(key) == -1]
    house.worker.send(signal.SIGTERM)
    assert house.worker.wait() == 0
    assert not list(client.scan_iter(READY_KEY_PATTERN))
