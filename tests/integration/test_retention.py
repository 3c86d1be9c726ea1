"""Retention beside real workers and a real queue: one at a time, and nothing that a running job has stored."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import redis

from tests.front_end import FrontEnd
from tests.integration.conftest import StartWorker
from tests.light_worker import REVISION
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs
from worker.directory_store import DirectoryStore
from worker.protocol import STORE_FIGURES_KEY, image_name
from worker.retention import LOCK_KEY, Found, Retention, running_subjects
from worker.settings import WorkerSettings


@pytest.fixture
def store(store_folder: Path) -> DirectoryStore:
    return DirectoryStore(store_folder)


def age(store: DirectoryStore, *names: str) -> None:
    for name in names:
        os.utime(store.path(name), times=(0, 0))


def test_one_process_at_a_time_and_not_too_often(client: redis.Redis, store: DirectoryStore) -> None:
    names = [image_name(REVISION, seed, 20) for seed in range(3)]
    for name in names:
        store.put(name, bytes(100))
    age(store, *names)
    retention = Retention(store.root, 200, client)
    client.set(LOCK_KEY, "somebody else's")
    assert retention.look() is None
    client.delete(LOCK_KEY)
    assert retention.look() == Found(images=1, size=100, removed=2)
    assert retention.look() is None
    assert Retention(store.root, 200, client, look_seconds=0).look() == Found(images=1, size=100)
    assert not client.exists(LOCK_KEY)
    figures = client.hgetall(STORE_FIGURES_KEY)
    assert (figures[b"images"], figures[b"bytes"], figures[b"limit_bytes"], figures[b"removed"]) == (
        b"1",
        b"100",
        b"200",
        b"2",
    )


def test_what_a_running_job_has_stored_stays_until_it_is_reported(
    client: redis.Redis, store: DirectoryStore, jobs: Jobs, start_light_worker: StartWorker
) -> None:
    """An image of a long job, stored long ago: the job names it when it ends, and so it has to be there then."""
    first, second = (image_name(REVISION, seed, 200) for seed in (7, 8))
    store.put(first, bytes(100))
    worker = start_light_worker("--step-seconds", "0.05")
    job = jobs.post(steps=200, seed=7, count=2)
    jobs.until(job, "started")
    poll(lambda: running_subjects(client) == {("7", "200"), ("8", "200")}, "both are known to be made")
    age(store, first)
    assert Retention(store.root, 1, client, look_seconds=0).look() == Found(images=1, size=100)
    worker.kill()  # no more is needed of it: the lease lapses, and then nobody runs the job
    assert store.exists(first)
    assert not store.exists(second)


def test_a_store_is_looked_through_while_in_the_context(client: redis.Redis, store: DirectoryStore) -> None:
    name = image_name(REVISION, 1, 20)
    store.put(name, bytes(100))
    age(store, name)
    limit = WorkerSettings.from_environ(
        {"BOUQUET_REDIS_URL": "redis://x", "BOUQUET_IMAGES_MAX_BYTES": "50"}
    ).images_max_bytes  # no plain int
    with Retention(store.root, limit, client, look_seconds=0.01):
        poll(lambda: not store.exists(name), "the image is removed")
        poll(lambda: client.hget(STORE_FIGURES_KEY, "limit_bytes") == b"50", "the figures are told")


def test_an_image_that_was_removed_is_made_again_at_its_address(
    valkey: ValkeyServer, store: DirectoryStore, tmp_path: Path, start_light_worker: StartWorker
) -> None:
    with FrontEnd(tmp_path / "front", valkey.url, store.root, job_ttl=60) as front_end:
        start_light_worker()
        headers = {"Prefer": "wait=30", "Idempotency-Key": "mine"}
        job = front_end.api.post("/generate", json={"steps": 5, "seed": 7}, headers=headers).json()
        url = job["images"][0]["url"]
        before = front_end.api.get(url).raise_for_status()
        store.delete(url.rpartition("/")[2])
        again = front_end.api.get(url).raise_for_status()
        assert again.content == before.content
        assert again.headers["etag"] == before.headers["etag"] == f'"{job["images"][0]["sha256"]}"'
        assert store.exists(url.rpartition("/")[2])
        # Another bundle's image is not this one's to make.
        other = front_end.api.get(f"/images/{image_name('f' * 12, 7, 5)}")
        assert (other.status_code, other.json()["code"]) == (404, "image-not-found")
        # Reads count as use.
        path = store.path(url.rpartition("/")[2])
        os.utime(path, times=(0, 0))
        front_end.api.get(url)
        assert time.time() - path.stat().st_mtime < 60
        with valkey.connect() as client:
            kept = [client.ttl(key) for key in (f"rq:job:{job['id']}", *client.scan_iter("bouquet:claim:*"))]
            assert len(kept) >= 2
            assert all(0 < seconds <= 60 for seconds in kept)
            assert client.hget(f"rq:job:{job['id']}", "failure_ttl") == b"420"
