"""The client against the real front end, and against servers that misbehave in one way each."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.client import (
    Client,
    ClientError,
    InvalidRequestError,
    NotFoundError,
    QueueFullError,
    Retries,
    UnauthorizedError,
    UnreachableError,
)
from app.schemas import Image, Job, JobStatus
from tests.serving import Serve

API_KEY = "a-key-for-the-tests"
AT_ONCE = Retries(busy=0, outage=0, restart=0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A front end without a worker: jobs stay queued."""
    home = tmp_path_factory.mktemp("home")
    with Serve(home, "--workers", "0", env={"BOUQUET_API_KEYS": API_KEY, "BOUQUET_QUEUE_LIMIT": "2000"}) as serve:
        yield serve.wait_until_live()


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(server, API_KEY, retries=AT_ONCE) as client:
        yield client


def test_a_job_is_queued_and_can_be_asked_for(client: Client) -> None:
    job = client.generate(steps=5, seed=7, count=2)
    assert job.status is JobStatus.QUEUED
    assert (job.request.steps, job.request.seed, job.request.count) == (5, 7, 2)
    assert client.job(job.id).id == job.id


def test_a_seed_that_is_not_given_is_drawn_and_told(client: Client) -> None:
    assert client.generate(steps=5, seed=None).request.seed != client.generate(steps=5, seed=None).request.seed


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as told:
        action()
    return told.value.code


def test_the_servers_problems_keep_their_code_and_text(client: Client, server: str) -> None:
    with pytest.raises(InvalidRequestError, match="steps") as told:
        client.generate(steps=1001, seed=7)
    assert told.value.code == "invalid-request"
    assert told.value.problem is not None
    assert [error.field for error in told.value.problem.errors or ()] == ["steps"]
    with pytest.raises(NotFoundError):
        client.job("no-such-job")
    with Client(server) as stranger, pytest.raises(UnauthorizedError):
        stranger.generate(steps=5, seed=7)


def test_jobs_are_listed_and_canceled(client: Client) -> None:
    made = [client.generate(steps=1, seed=seed).id for seed in range(3)]
    assert client.cancel(made[0]).status is JobStatus.CANCELED
    queued = [job.id for job in client.jobs(JobStatus.QUEUED)]
    assert [job_id for job_id in queued if job_id in made] == [made[2], made[1]]
    assert next(client.jobs()).id == made[2]
    assert client.is_ready() is False
    assert code_of(client.model) == "not-ready"
    for job_id in queued:
        client.cancel(job_id)


def test_a_full_queue_says_when_to_come_again(client: Client) -> None:
    client.generate(steps=1000, seed=1)
    with pytest.raises(QueueFullError, match=r"\(Try again in \d+ s\.\)"):
        client.generate(steps=1000, seed=2, count=2)


def test_the_command_tells_a_refusal_in_a_line(server: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "flower.png"
    assert main(["generate", "--server", server, "-o", str(output)]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith("bouquet generate: ")
    assert complaint.count("\n") == 1
    assert not output.exists()


def test_a_server_that_is_not_there_is_told() -> None:
    # The port of the discard service: nobody listens.
    with Client("http://127.0.0.1:9", retries=AT_ONCE) as client, pytest.raises(UnreachableError):
        client.generate(steps=5, seed=7)


JOB: dict[str, Any] = {
    "id": "1-5",
    "status": "succeeded",
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": "2026-01-01T00:00:00Z",
    "finished_at": "2026-01-01T00:00:01Z",
    "request": {"steps": 5, "seed": 7, "count": 1},
    "progress": {"steps_done": 5, "steps_total": 5, "images_done": 1},
    "queue": None,
    "images": [{"seed": 7, "url": "/images/x.png", "width": 8, "height": 8, "bytes": 3, "sha256": "0" * 64}],
    "error": None,
    "metrics": {"queued_seconds": 0.1, "run_seconds": 0.9},
}
PROBLEM = {"type": "/docs#job-failed", "title": "", "status": 500, "detail": "It broke.", "code": "job-failed"}


@pytest.fixture
def scripted() -> Iterator[Callable[[list[tuple[int, bytes]]], str]]:
    """Starts a server that gives the answers of a script, one a request; the last for ever."""
    servers: list[tuple[http.server.HTTPServer, threading.Thread]] = []

    def start(script: list[tuple[int, bytes]]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, body = script.pop(0) if len(script) > 1 else script[0]
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(**changes: Any) -> tuple[int, bytes]:
    return 200, json.dumps(JOB | changes).encode()


@pytest.mark.parametrize("body", [b"<html>", b"{}", b""])
@pytest.mark.parametrize("status", [200, 302, 404, 500])
def test_what_is_no_bouquet_is_told(scripted: Callable[..., str], status: int, body: bytes) -> None:
    with Client(scripted([(status, body)])) as client:
        assert code_of(lambda: client.generate(steps=5, seed=7)) == "not-bouquet"


def test_waiting_outlasts_a_short_outage_and_tells_of_changes(scripted: Callable[..., str]) -> None:
    away = 503, json.dumps(PROBLEM | {"code": "queue-unavailable", "instance": "/"}).encode()
    running = answer(status="running", progress={"steps_done": 2, "steps_total": 5, "images_done": 0}, images=[])
    seen: list[Job] = []
    with Client(scripted([answer(status="queued", images=[]), away, running, running, away, answer()])) as client:
        job = client.wait(client.generate(steps=5, seed=7), seen.append)
    assert job.status is JobStatus.SUCCEEDED
    assert [(job.status, job.progress.steps_done) for job in seen] == [("running", 2), ("succeeded", 5)]


def test_a_failed_and_a_canceled_job_are_errors(scripted: Callable[..., str]) -> None:
    with Client(scripted([answer(status="failed", images=[], error=PROBLEM | {"instance": "/"})])) as client:
        with pytest.raises(ClientError, match="It broke") as told:
            client.wait(client.job("1-5"))
        assert told.value.code == "job-failed"
    with Client(scripted([answer(status="canceled", images=[])])) as client:
        assert code_of(lambda: client.wait(client.job("1-5"))) == "job-canceled"


def test_a_picture_that_arrives_damaged_is_refused(scripted: Callable[..., str]) -> None:
    with Client(scripted([(200, b"png")])) as client:
        image = Image.model_validate(JOB["images"][0])
        assert code_of(lambda: client.image(image)) == "damaged"
