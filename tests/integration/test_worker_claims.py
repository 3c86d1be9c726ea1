"""Several workers at once: an image that jobs of two of them want is computed by one, whatever becomes of that one."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import redis
from rq.command import send_stop_job_command
from rq.serializers import JSONSerializer

from tests.integration.conftest import StartWorker
from tests.light_worker import REVISION
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs, WorkerProcess
from worker import image_claims
from worker.image_claims import ImageClaims
from worker.protocol import ImageKey, worker_metrics_key, worker_ready_key

StartHeldWorker = Callable[..., WorkerProcess]


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    return tmp_path / "hold"


def images_made(client: redis.Redis, *names: str) -> int:
    """How many images workers say that they have computed; they say it at the latest when they end."""
    made = 0.0
    for key in cast(list[bytes], list(client.scan_iter(worker_metrics_key("*")))):
        if any(f":{name}-".encode() in key for name in names):
            text = zlib.decompress(cast(bytes, client.get(key))).decode()
            found = re.search(r"^bouquet_worker_images_made_total(?:\{[^}]*\})? (\S+)$", text, re.MULTILINE)
            made += float(found[1]) if found else 0.0
    return round(made)


def claims(client: redis.Redis) -> dict[bytes, bytes]:
    return {key: cast(bytes, client.get(key)) for key in client.scan_iter("bouquet:making:*")}


def hand_out(jobs: Jobs, client: redis.Redis, start: StartWorker, hold: Path) -> tuple[WorkerProcess, WorkerProcess]:
    """Two workers, of which the first is held and takes one job, and the second is not held."""
    hold.touch()
    first = start("--hold", str(hold), jobs_held=1, stall_seconds=60)
    jobs.until(jobs.post(20, 100, 3), "started")
    poll(lambda: len(claims(client)) == 3, "its images are claimed")
    return first, start()


def test_an_image_that_two_workers_want_is_computed_once(
    jobs: Jobs, client: redis.Redis, start_light_worker: StartWorker, hold: Path
) -> None:
    first, second = hand_out(jobs, client, start_light_worker, hold)
    same, more = jobs.post(20, 100, 3), jobs.post(20, 101, 5)
    jobs.finish([jobs.post(20, 900)])  # the second worker is not held up by what it waits for
    assert jobs.status(same) == "started"
    assert jobs.status(more) == "started"
    hold.unlink()
    results = jobs.finish([same, more])
    assert results[0].images[1:] == results[1].images[:2]
    assert first.stop() == 0
    assert second.stop() == 0
    assert images_made(client, "worker1") == 3
    assert images_made(client, "worker2") == 4
    assert claims(client) == {}


def test_who_waits_takes_over_when_the_holder_is_killed(
    jobs: Jobs, client: redis.Redis, start_light_worker: StartWorker, hold: Path
) -> None:
    first, second = hand_out(jobs, client, start_light_worker, hold)
    same = jobs.post(20, 101, 2)
    jobs.until(same, "started")
    first.kill()
    jobs.finish([same])
    poll(lambda: jobs.queue.started_job_registry.get_job_count(cleanup=False) == 0, "the killed worker's job is done")
    assert second.stop() == 0
    assert images_made(client, "worker2") == 3
    assert claims(client) == {}


def test_who_waits_takes_over_when_the_holders_job_is_stopped(
    jobs: Jobs, client: redis.Redis, start_light_worker: StartWorker, hold: Path
) -> None:
    hold.touch()
    start_light_worker("--hold", str(hold), jobs_held=1)
    first = jobs.post(20, 100, 3)
    jobs.until(first, "started")
    poll(lambda: len(claims(client)) == 3, "its images are claimed")
    start_light_worker()
    same = jobs.post(20, 101, 2)
    jobs.until(same, "started")
    send_stop_job_command(client, first.id, serializer=JSONSerializer)
    jobs.finish([same], seconds=20)  # the holder has no job now, and beats on


def test_who_waits_goes_back_to_the_queue_when_it_is_to_end(
    jobs: Jobs, client: redis.Redis, start_light_worker: StartWorker, hold: Path
) -> None:
    first, second = hand_out(jobs, client, start_light_worker, hold)
    same = jobs.post(20, 101, 2)
    jobs.until(same, "started")
    assert second.stop() == 0
    assert jobs.status(same) == "queued"
    hold.unlink()
    jobs.finish([same])
    assert first.stop() == 0
    assert images_made(client, "worker1") == 3


KEYS = tuple(ImageKey(seed, 20) for seed in range(4))


class Workers:
    """Claims of workers that are nothing but their names."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def begin(self, name: str) -> ImageClaims:
        self._client.set(worker_ready_key(name), "{}")
        return ImageClaims(self._client, name, REVISION)

    def end(self, name: str) -> None:
        self._client.delete(worker_ready_key(name))


@pytest.fixture
def workers(client: redis.Redis, valkey: ValkeyServer) -> Workers:
    return Workers(client)


def test_the_first_to_claim_has_the_image(workers: Workers) -> None:
    one, other = workers.begin("one"), workers.begin("other")
    assert one.claim(KEYS[:3]) == set()
    assert one.claim(KEYS[:3]) == set()
    assert other.claim(KEYS[1:]) == set(KEYS[1:3])
    assert one.claim(KEYS) == {KEYS[3]}
    assert other.claim([]) == set()


def test_claims_are_let_go_with_the_images(workers: Workers, client: redis.Redis) -> None:
    one, other = workers.begin("one"), workers.begin("other")
    one.claim(KEYS)
    assert other.claim(KEYS) == set(KEYS)
    assert one.look_again((), KEYS[:1], 0.0) == set()
    assert other.look_again(KEYS, KEYS, 0.0) == set(KEYS[1:])
    assert one.look_again((), (), 1.0) == set()
    assert other.look_again(KEYS[:1], KEYS, 1.0) == {KEYS[0]}
    assert len(claims(client)) == 4


def test_claims_of_who_beats_no_more_are_void_and_not_to_be_let_go_by_him(
    workers: Workers, client: redis.Redis
) -> None:
    one, other = workers.begin("one"), workers.begin("other")
    one.claim(KEYS[:1])
    workers.end("one")
    assert other.claim(KEYS[:1]) == set()
    assert one.look_again((), (), 0.0) == set()  # he wakes, and is done with it
    assert set(claims(client).values()) == {b"other"}


def test_nobody_is_waited_for_for_ever(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = workers.begin("one"), workers.begin("other")
    one.claim(KEYS[:2])
    moment = 1000.0
    monkeypatch.setattr("worker.image_claims.time.monotonic", lambda: moment)
    assert other.claim(KEYS[:1]) == {KEYS[0]}
    moment += image_claims.PATIENCE_SECONDS - 1
    assert other.claim(KEYS[:2]) == set(KEYS[:2])
    assert other.look_again(KEYS[:2], KEYS, moment) == set()
    moment += 2
    assert other.look_again(KEYS[:2], KEYS, moment) == {KEYS[0]}


def test_claims_do_not_last_for_ever(workers: Workers, client: redis.Redis) -> None:
    workers.begin("one").claim(KEYS)
    assert all(0 < client.ttl(key) <= 3600 for key in claims(client))
