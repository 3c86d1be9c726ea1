"""What operators see of a service at work: figures for Prometheus, and a log whose lines can be joined."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from rq.job import Job
from rq.serializers import JSONSerializer

from tests.front_end import ROOT, FrontEnd
from tests.integration.conftest import StartWorker
from tests.processes import poll
from tests.serving import Serve
from tests.unit.project.test_dashboard import names_used
from tests.valkey_server import ValkeyServer
from worker.retention import Retention

Figures = dict[str, Metric]
FRONT_END = {"log_format": "json"}


@pytest.fixture
def new_front_end(valkey: ValkeyServer, tmp_path: Path, store_folder: Path) -> Iterator[FrontEnd]:
    """One whose counters begin at nothing."""
    with FrontEnd(tmp_path / "front", valkey.url, store_folder, log_format="json") as front_end:
        yield front_end


def figures(api: httpx.Client) -> Figures:
    answer = api.get("/metrics").raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {family.name: family for family in read_text(answer.text)}


def value(found: Figures, sample: str, **labels: str) -> float:
    """The sum of the samples of that name which have these labels, and perhaps others."""
    matches = [
        one.value
        for family in found.values()
        for one in family.samples
        if one.name == sample and labels.items() <= one.labels.items()
    ]
    assert matches, f"no {sample} with {labels}"
    return sum(matches)


def make(api: httpx.Client, **wish: int) -> dict[str, object]:
    answer = api.post("/generate", json=wish, headers={"Prefer": "wait=30"})
    assert answer.status_code == 200, answer.text
    job: dict[str, object] = answer.json()
    return job


def test_the_figures_of_a_service_at_work(new_front_end: FrontEnd, start_light_worker: StartWorker) -> None:
    api = new_front_end.api
    idle = figures(api)
    assert value(idle, "bouquet_workers_ready") == 0
    assert value(idle, "bouquet_redis_up") == 1
    api.post("/generate", json={"steps": 10, "seed": 1, "count": 3}).raise_for_status()
    queued = figures(api)
    assert (value(queued, "bouquet_queue_jobs"), value(queued, "bouquet_queue_image_steps")) == (1, 30)

    worker = start_light_worker("--poison", "666")
    # From this look on the front end knows the bundle, and so looks into the store itself.
    poll(lambda: api.get("/model").is_success and api.get("/health/ready").is_success, "the front end sees the worker")
    make(api, steps=10, seed=10, count=2)
    make(api, steps=10, seed=10, count=2)  # the same: all in the store
    make(api, steps=10, seed=11, count=2)  # one of two
    assert make(api, steps=10, seed=666)["status"] == "failed"
    api.get("/jobs/no-such-job")
    api.get("/flowers/11.png", params={"steps": 10}).raise_for_status()
    api.head("/model")

    def ended() -> list[float]:
        found = figures(api)
        return [value(found, "bouquet_worker_jobs_total", outcome=end) for end in ("succeeded", "failed")]

    poll(lambda: ended() == [3, 1], "the worker's figures")
    found = figures(api)
    assert value(found, "bouquet_workers_ready") == 1
    assert value(found, "bouquet_capacity_image_steps_per_second") > 0
    assert value(found, "bouquet_queue_jobs") == value(found, "bouquet_queue_image_steps") == 0
    assert value(found, "bouquet_worker_images_made_total") == 3 + 2 + 1
    assert value(found, "bouquet_worker_image_cache_hits_total") == 1
    assert value(found, "bouquet_worker_job_failures_total", code="computation-failed") == 1
    assert value(found, "bouquet_worker_admission_seconds_count") == 4
    assert value(found, "bouquet_worker_job_run_seconds_count") == 3
    # Of the poisonous image no step was booked; how the others fell into ticks is the scheduler's affair.
    assert value(found, "bouquet_worker_image_steps_total") >= (3 + 2 + 1) * 10
    ticks = value(found, "bouquet_worker_tick_seconds_count")
    assert 0 < value(found, "bouquet_worker_batch_fill_ratio_sum") <= ticks
    assert value(found, "bouquet_worker_slots") == 8
    assert value(found, "bouquet_worker_info", revision="0123456789ab") == 1
    names = {one.labels["worker"] for one in found["bouquet_worker_jobs"].samples}
    assert len(names) == 1
    assert next(iter(names)).startswith(f"{worker.name}-")

    assert value(found, "bouquet_jobs_accepted_total", **{"as": "queued"}) == 4
    assert value(found, "bouquet_jobs_accepted_total", **{"as": "stored"}) == 1
    assert value(found, "bouquet_picture_requests_total", cache="hit") == 1
    requests = "bouquet_http_requests_total"
    assert value(found, requests, route="/generate", method="POST", status="202") == 1
    assert value(found, requests, route="/generate", method="POST", status="200") == 4
    assert value(found, requests, route="/jobs/{job_id}", method="GET", status="404") == 1
    assert value(found, requests, route="/flowers/{seed}.png", status="200") == 1
    assert value(found, requests, route="/model", method="HEAD", status="200") == 1
    assert value(found, "bouquet_http_problems_total", code="job-not-found") == 1
    # Only the one that did not ask to wait.
    assert value(found, "bouquet_http_request_duration_seconds_count", route="/generate") == 1


def test_what_is_told_is_documented_and_what_is_asked_for_is_told(
    front_end: FrontEnd, valkey: ValkeyServer, store_folder: Path, start_light_worker: StartWorker
) -> None:
    start_light_worker("--poison", "666")
    make(front_end.api, steps=5, seed=666)
    front_end.api.get("/nothing")
    with valkey.connect() as client:
        Retention(store_folder, 1000, client).look()
    poll(lambda: "bouquet_worker_job_failures_total{" in front_end.api.get("/metrics").text, "the failure is told")
    found = figures(front_end.api)
    samples = {one.name for family in found.values() for one in family.samples}
    assert names_used() - samples == set()
    ours = {name + ("_total" if family.type == "counter" else "") for name, family in found.items()}
    documented = set(re.findall(r"(?m)^\| `(bouquet_[a-z_]+)` \|", (ROOT / "docs" / "operations.md").read_text()))
    assert documented == {name for name in ours if name.startswith("bouquet_")}
    assert all(family.documentation for family in found.values())


def test_labels_are_few_whatever_is_asked_for(front_end: FrontEnd) -> None:
    def labels() -> set[tuple[str, str]]:
        samples = figures(front_end.api)["bouquet_http_requests"].samples
        return {(one.labels["method"], one.labels["route"]) for one in samples}

    before = labels()
    for number in range(20):
        front_end.api.get(f"/nothing/{number}")
        front_end.api.get(f"/jobs/{number}")
        front_end.api.request(("PROPFIND", "MKCOL", "COPY", "LOCK")[number % 4], "/jobs")
    front_end.api.get("/static/style.css")
    front_end.api.get("/static/nothing.css")
    asked = {("GET", route) for route in ("other", "/jobs/{job_id}", "/static")} | {("other", "/jobs")}
    assert labels() == before | asked


def test_openmetrics_for_who_asks(front_end: FrontEnd) -> None:
    answer = front_end.api.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "bouquet_queue_jobs" in {family.name for family in read_openmetrics(answer.text)}  # type: ignore[no-untyped-call]


def test_without_redis_there_are_still_figures(front_end: FrontEnd, valkey: ValkeyServer) -> None:
    valkey.stop()
    found = figures(front_end.api)
    assert value(found, "bouquet_redis_up") == 0
    assert "bouquet_queue_jobs" not in found
    assert "bouquet_http_requests" in found
    valkey.start()
    assert value(figures(front_end.api), "bouquet_redis_up") == 1


def test_a_worker_that_is_started_again_takes_nothing_back(
    front_end: FrontEnd, start_light_worker: StartWorker
) -> None:
    """Its counters stay to be scraped once more, its gauges do not, and its successor has series of its own."""
    first = start_light_worker()
    make(front_end.api, steps=5, seed=1)
    assert first.stop() == 0
    found = figures(front_end.api)
    made = [one for one in found["bouquet_worker_images_made"].samples if one.value == 1]
    assert [one.labels["worker"].startswith(f"{first.name}-") for one in made] == [True]
    assert "bouquet_worker_slots" not in found
    second = start_light_worker()
    made = figures(front_end.api)["bouquet_worker_images_made"].samples
    assert sorted((one.labels["worker"].rsplit("-", 2)[0], one.value) for one in made) == [
        (first.name, 1),
        (second.name, 0),
    ]


def test_figures_that_cannot_be_read_harm_nobody(
    front_end: FrontEnd, valkey: ValkeyServer, start_light_worker: StartWorker
) -> None:
    start_light_worker()
    with valkey.connect() as client:
        for name, text in (("a", b"not compressed"), ("b", b"\x78\x9c" + b"\0" * 9)):
            client.set(f"bouquet:worker:{name}:metrics", text)
            client.zadd("bouquet:worker-metrics", {name: 2**40})
    assert len(figures(front_end.api)["bouquet_worker_slots"].samples) == 1


def lines(text: str) -> list[dict[str, object]]:
    """All of them: not one is no JSON."""
    return [json.loads(line) for line in text.splitlines()]


def test_the_lines_of_api_and_worker_share_their_ids(front_end: FrontEnd, start_light_worker: StartWorker) -> None:
    worker = start_light_worker("--poison", "666", log_format="json")
    before = len(front_end.log)
    wish = {"steps": 5, "seed": 1}
    answer = front_end.api.post("/generate", json=wish, headers={"X-Request-ID": "from-me", "Prefer": "wait=30"})
    assert answer.headers["x-request-id"] == "from-me"
    job_id = answer.json()["id"]
    failed = front_end.api.post("/generate?key=secret", json={"seed": 666}, headers={"Prefer": "wait=30"})
    front_end.api.get("/health/live")
    front_end.api.get("/metrics")
    front_end.api.get(f"/jobs/{job_id}")
    front_end.api.post("/generate", json={"steps": 0})

    poll(lambda: "invalid-request" in front_end.log[before:], "the last line of the log")
    access = [line for line in lines(front_end.log[before:]) if line["logger"] == "bouquet.access"]
    assert [(line["method"], line["path"], line["status"]) for line in access] == [
        ("POST", "/generate", 200),
        ("POST", "/generate", 200),
        ("GET", f"/jobs/{job_id}", 200),
        ("POST", "/generate", 422),
    ]
    assert {"time", "level", "message", "seconds", "route", "client"} <= access[0].keys()
    assert (access[0]["request_id"], access[0]["job_id"]) == ("from-me", job_id)
    assert access[2]["job_id"] == job_id
    assert access[3]["code"] == "invalid-request"
    assert "job_id" not in access[3]
    assert "secret" not in front_end.log

    poll(lambda: "computation-failed" in worker.log.read_text(), "the failure in the worker's log")
    about = {line["job_id"]: line for line in lines(worker.log.read_text()) if "job_id" in line}
    assert about[job_id]["request_id"] == "from-me"
    assert about[failed.json()["id"]]["request_id"] == failed.headers["x-request-id"]
    assert about[failed.json()["id"]]["code"] == "computation-failed"
    assert {"time", "level", "logger", "message"} <= about[job_id].keys()


def test_each_of_a_crowd_keeps_its_own_id(front_end: FrontEnd, valkey: ValkeyServer) -> None:
    """Requests that come at the same time may be written in one go, but by no means under one name."""

    def post(number: int) -> str:
        headers = {"X-Request-ID": f"one-of-many-{number}"}
        job_id = front_end.api.post("/generate", json={"seed": number}, headers=headers).json()["id"]
        return str(job_id)

    with ThreadPoolExecutor(16) as crowd:
        job_ids = list(crowd.map(post, range(64)))
    with valkey.connect() as client:
        for number, job_id in enumerate(job_ids):
            job = Job.fetch(job_id, connection=client, serializer=JSONSerializer)
            assert job.meta == {"request_id": f"one-of-many-{number}"}


def test_the_console_of_all_parts_is_json_too(tmp_path: Path) -> None:
    with Serve(tmp_path / "home", "--workers", "0", env={"BOUQUET_LOG_FORMAT": "json"}) as serve:
        url = serve.wait_until_live()
        httpx.get(f"{url}/jobs", headers={"X-Request-ID": "console"})
        serve.wait_for('"request_id": "console"')
    console = [json.loads(line) for line in serve.lines]
    assert {"part", "time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in console))
    access = next(line for line in console if line.get("request_id") == "console")
    assert (access["part"], access["route"]) == ("api", "/jobs")
