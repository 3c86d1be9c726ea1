"""A store in S3 that fails, or is gone for a while: jobs wait or say why, and none is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import redis

from tests.faulty_proxy import FaultyProxy
from tests.front_end import FrontEnd
from tests.nursery import Nursery
from tests.processes import poll
from tests.s3_server import BUCKET, S3Server
from tests.store_storm import storm
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs, WorkerProcess

STORE = f"s3://{BUCKET}/outages"


StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """An S3 that can be taken down, in the environment of whoever is started."""
    server = S3Server(tmp_path / "s3.log")
    proxy = FaultyProxy(server.address)
    for name, value in server.environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.close()
    server.close()


@pytest.fixture
def start_worker(
    nursery: Nursery, valkey: ValkeyServer, client: redis.Redis, proxy: FaultyProxy, tmp_path: Path
) -> Iterator[StartWorker]:
    """Starts a light worker with a store in S3 that it tries for so many seconds."""
    started = []

    def start(store_seconds: float) -> WorkerProcess:
        environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")} | {
            "BOUQUET_REDIS_URL": valkey.url,
            "BOUQUET_STORE": STORE,
            "BOUQUET_STORE_SECONDS": str(store_seconds),
        }
        worker = WorkerProcess.start_light(nursery, "worker", tmp_path / "worker.log", environment, [])
        started.append(worker)
        poll(lambda: worker.is_ready(client), "the worker is ready", 60)
        return worker

    yield start
    for worker in started:
        worker.close()


def test_nothing_is_lost_or_wrong_while_calls_fail(tmp_path: Path, nursery: Nursery) -> None:
    """One call in ten; `python -m tests.store_storm` does the same for a thousand jobs."""
    findings = storm(tmp_path, nursery, 60, 0.1, seconds=90)
    assert findings.finished == 60, findings.text
    assert not findings.wrong, findings.text
    assert not findings.twice, findings.text
    assert sum(findings.struck.values()) > 5, findings.text


def test_a_store_that_is_away_makes_jobs_wait_and_answers_say_so(
    proxy: FaultyProxy, valkey: ValkeyServer, jobs: Jobs, start_worker: StartWorker, tmp_path: Path
) -> None:
    start_worker(60)
    with FrontEnd(tmp_path / "api", valkey.url, STORE) as front:
        assert post(front.api, 1).status_code == 202
        proxy.down = True
        refused = post(front.api, 2)
        assert (refused.status_code, refused.json()["code"]) == (503, "store-unavailable")
        waiting = jobs.post(3, 3)  # accepted a moment before
        jobs.until(waiting, "started")
        proxy.down = False
        (result,) = jobs.finish([waiting])
        picture = front.api.get(f"/images/{result.images[0].name}")
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
        assert post(front.api, 3).json()["status"] in ("succeeded", "queued", "running")


def test_a_store_that_stays_away_fails_jobs_with_its_reason(
    proxy: FaultyProxy, jobs: Jobs, start_worker: StartWorker
) -> None:
    start_worker(0.1)
    proxy.down = True
    job = jobs.post(2, 1)
    jobs.until(job, "failed", seconds=60)
    reason = jobs.failure(job)
    assert reason.code == "store-failed"
    assert f"{STORE}/" in reason.detail
    proxy.down = False
    jobs.finish([jobs.post(2, 1)])


def post(api: httpx.Client, seed: int) -> httpx.Response:
    return api.post("/generate", json={"seed": seed, "steps": 3})
