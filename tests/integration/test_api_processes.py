"""Several processes of the API on one port: to clients and scrapers they are one front end."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes import poll
from tests.serving import Serve

PROCESSES = 2
REQUESTS = 40
PATIENCE = 60.0  # seconds; a connection may be dealt to a process that is still starting


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path, "--workers", "0", "--api-processes", str(PROCESSES)) as serve:
        serve.wait_until_live()
        # An answer of the first says nothing of the second, which begins to count with its first request.
        for number in range(1, PROCESSES + 1):
            serve.wait_for(rf"api-{number} is process")
        yield serve


def figure(url: str, name: str) -> float:
    """A figure as some process of the API tells it: each request comes over a connection of its own."""
    answer = httpx.get(f"{url}/metrics", timeout=PATIENCE).raise_for_status()
    found = re.search(rf"^{re.escape(name)} (\S+)$", answer.text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


NOT_FOUND = 'bouquet_http_requests_total{method="GET",route="/jobs/{job_id}",status="404"}'


def test_whichever_process_is_asked_tells_what_all_have_counted(live: Serve) -> None:
    url = live.wait_until_live()
    for _ in range(REQUESTS):
        assert httpx.get(f"{url}/jobs/none", timeout=PATIENCE).status_code == 404
    assert [figure(url, NOT_FOUND) for _ in range(REQUESTS)] == [REQUESTS] * REQUESTS


def test_what_a_process_counted_stays_when_it_is_killed(live: Serve) -> None:
    url = live.wait_until_live()
    for _ in range(REQUESTS):
        httpx.get(f"{url}/jobs/none", timeout=PATIENCE)
    for name in ("api-1", "api-2"):
        live.kill(name)
        live.wait_for(rf"{name} is process", times=2)
    assert figure(url, NOT_FOUND) == REQUESTS
    httpx.get(f"{url}/jobs/none", timeout=PATIENCE)
    assert figure(url, NOT_FOUND) == REQUESTS + 1


@pytest.mark.skipif(sys.platform != "linux", reason="one process may get all streams where they are not dealt out")
def test_event_streams_are_counted_over_all_processes_and_not_after_their_death(live: Serve) -> None:
    url = live.wait_until_live()
    job = httpx.post(f"{url}/generate", json={"seed": 7}, timeout=PATIENCE).raise_for_status().json()
    with contextlib.ExitStack() as stack:
        for _ in range(REQUESTS):
            client = stack.enter_context(httpx.Client(timeout=PATIENCE))
            stack.enter_context(client.stream("GET", f"{url}/jobs/{job['id']}/events")).raise_for_status()
        assert figure(url, "bouquet_event_readers") == REQUESTS
        live.kill("api-1")
        live.wait_for("api-1 is process", times=2)
        assert 0 < figure(url, "bouquet_event_readers") < REQUESTS
    poll(lambda: figure(url, "bouquet_event_readers") == 0, "all streams are closed", PATIENCE)


def test_a_job_can_be_seen_at_every_process(live: Serve) -> None:
    url = live.wait_until_live()
    key = {"Idempotency-Key": "k"}
    job = httpx.post(f"{url}/generate", json={"seed": 7}, headers=key, timeout=PATIENCE).raise_for_status().json()
    for _ in range(REQUESTS // 2):
        assert httpx.get(f"{url}/jobs/{job['id']}", timeout=PATIENCE).json()["id"] == job["id"]
        again = httpx.post(f"{url}/generate", json={"seed": 7}, headers=key, timeout=PATIENCE)
        assert again.json()["id"] == job["id"]


def test_all_processes_end_and_leave_no_folder(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with Serve(tmp_path / "home", "--workers", "0", "--api-processes", "2", env={"TMPDIR": str(temporary)}) as serve:
        serve.wait_until_live()
        assert [path.name.startswith("bouquet-figures-") for path in temporary.iterdir()] == [True]
        assert serve.end() == 0
        assert len(serve.process_ids(r"api-\d")) == 2
    assert not list(temporary.iterdir())


def test_the_number_can_be_set_by_a_variable_too(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "0", env={"BOUQUET_API_PROCESSES": "3"}) as serve:
        serve.wait_until_live()
        assert "starting 0 workers and 3 processes of the API" in serve.text
        assert len(serve.process_ids(r"api-\d")) == 3
