"""Two front ends and two workers on addresses of their own, one queue and one S3 store: any may end at any moment.

`python -m tests.many_hosts` runs the acceptance tests against production workers in the same order of battle.
"""

from __future__ import annotations

import dataclasses
import io
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from tests.front_end import FrontEnd
from tests.light_worker import light_image
from tests.nursery import Nursery
from tests.processes import poll
from tests.s3_server import BUCKET, S3Server
from tests.tcp_valkey import TcpValkey
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="one machine has many addresses on Linux alone")

STORE = f"s3://{BUCKET}/hosts"
STEP_SECONDS = "0.002"


@dataclasses.dataclass
class Hosts:
    """Front ends on 127.0.0.2 and 127.0.0.3; whoever ends one puts another in its place."""

    folder: Path
    redis_url: str
    s3: S3Server
    nursery: Nursery
    stack: ExitStack
    fronts: list[FrontEnd] = dataclasses.field(default_factory=list)
    workers: list[WorkerProcess] = dataclasses.field(default_factory=list)
    started: int = 0

    def start_front(self, place: int) -> FrontEnd:
        self.started += 1
        folder = self.folder / f"front{self.started}"
        return self.stack.enter_context(FrontEnd(folder, self.redis_url, STORE, host=f"127.0.0.{2 + place}"))

    def start_worker(self) -> WorkerProcess:
        self.started += 1
        name = f"machine{self.started}"
        environment = self.s3.environment() | {"BOUQUET_REDIS_URL": self.redis_url, "BOUQUET_STORE": STORE}
        log = self.folder / f"{name}.log"
        worker = WorkerProcess.start_light(self.nursery, name, log, environment, ["--step-seconds", STEP_SECONDS])
        self.stack.callback(worker.close)
        with redis.Redis.from_url(self.redis_url) as client:
            poll(lambda: worker.is_ready(client), f"{name} is ready", 60)
        return worker

    def api(self, number: int) -> httpx.Client:
        return self.fronts[number % 2].api

    def post(self, number: int, seed: int, steps: int = 20, count: int = 1) -> str:
        answer = self.api(number).post("/generate", json={"seed": seed, "steps": steps, "count": count})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def finish(self, number: int, job_id: str) -> list[dict[str, object]]:
        """Waits for the job at one front end; its images must be what their seeds make."""

        def ended() -> bool:
            return self.api(number).get(f"/jobs/{job_id}").json()["status"] not in ("queued", "running")

        poll(ended, f"job {job_id} has ended", 60)
        job = self.api(number).get(f"/jobs/{job_id}").json()
        assert job["status"] == "succeeded", job
        for image in job["images"]:
            picture = self.api(number).get(image["url"])
            pixels = np.asarray(Image.open(io.BytesIO(picture.content)))
            np.testing.assert_array_equal(pixels, light_image(image["seed"], job["request"]["steps"]))
        return list(job["images"])


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        valkey = TcpValkey(folder / "queue", "127.0.0.4", "a-password-of-the-moment")
        stack.callback(valkey.close)
        s3 = S3Server(folder / "s3.log", "127.0.0.5")
        stack.callback(s3.close)
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        hosts = Hosts(folder, valkey.url, s3, nursery, stack)
        hosts.fronts += [hosts.start_front(0), hosts.start_front(1)]
        hosts.workers += [hosts.start_worker(), hosts.start_worker()]
        yield hosts


def test_any_front_end_answers_for_any_job(hosts: Hosts) -> None:
    assert {front.api.base_url.host for front in hosts.fronts} == {"127.0.0.2", "127.0.0.3"}
    job_id = hosts.post(0, seed=1, count=3)
    with hosts.api(1).stream("GET", f"/jobs/{job_id}/events") as events:
        assert "event: done" in events.read().decode()
    assert hosts.finish(0, job_id) == hosts.finish(1, job_id)
    assert job_id in [job["id"] for job in hosts.api(1).get("/jobs").json()["jobs"]]
    flowers = {hosts.api(number).get("/flowers/99.png?steps=4").content for number in (0, 1)}
    assert len(flowers) == 1
    key = {"Idempotency-Key": "one-for-both"}
    posts = [hosts.api(number).post("/generate", json={"seed": 5}, headers=key).json()["id"] for number in (0, 1)]
    assert posts[0] == posts[1]


def test_one_cancels_what_was_posted_at_the_other(hosts: Hosts) -> None:
    job_id = hosts.post(0, seed=0, steps=1000, count=64)
    assert hosts.api(1).delete(f"/jobs/{job_id}").json()["status"] == "canceled"
    assert hosts.api(0).get(f"/jobs/{job_id}").json()["status"] == "canceled"


def test_both_workers_take_part(hosts: Hosts) -> None:
    jobs = [hosts.post(number, seed=1000 + 100 * number, steps=60, count=8) for number in range(6)]
    for number, job_id in enumerate(jobs):
        hosts.finish(number + 1, job_id)
    assert [worker.name for worker in hosts.workers if jobs_in(worker) == 0] == []


@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_takes_nothing_along(hosts: Hosts, victim: int) -> None:
    jobs = [hosts.post(number, seed=10_000 * (victim + 1) + 100 * number, steps=100, count=8) for number in range(6)]
    poll(lambda: any(running(hosts, job_id) for job_id in jobs), "a job runs")
    hosts.workers[victim].kill()
    for number, job_id in enumerate(jobs):
        hosts.finish(number, job_id)
    hosts.workers[victim] = hosts.start_worker()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_front_end_that_is_killed_takes_nothing_along(hosts: Hosts, victim: int) -> None:
    jobs = [hosts.post(victim, seed=100_000 * (victim + 1) + 10 * number, steps=50, count=4) for number in range(6)]
    front = hosts.fronts[victim]
    front.process.send_signal(signal.SIGKILL)
    front.process.wait()
    for job_id in jobs:
        hosts.finish(victim + 1, job_id)
    hosts.fronts[victim] = hosts.start_front(victim)
    assert hosts.finish(victim, jobs[0])


def jobs_in(worker: WorkerProcess) -> int:
    return worker.log.read_text().count(": 8 images in ")


def running(hosts: Hosts, job_id: str) -> bool:
    return bool(hosts.api(0).get(f"/jobs/{job_id}").json()["status"] == "running")
