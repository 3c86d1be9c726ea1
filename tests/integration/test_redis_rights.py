"""The queue behind TLS and a user of few rights: the whole service works, and nothing else does.

The rights are those of docker/kubernetes. The embedded Valkey is built without TLS, so that a tunnel gives it one.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.valkey import find_binary
from tests.addresses import free_port
from tests.front_end import FrontEnd
from tests.nursery import Nursery
from tests.processes import poll
from tests.tls_tunnel import TlsTunnel, make_certificate
from tests.worker_process import ROOT, WorkerProcess

PASSWORD = "a password of the moment"
USERS = ROOT / "docker" / "kubernetes" / "secrets.example.yaml"


def users() -> str:
    """The ACL that is shipped, with a password in it."""
    secrets = {secret["metadata"]["name"]: secret for secret in yaml.safe_load_all(USERS.read_text())}
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    return str(secrets["redis-users"]["stringData"]["users.acl"]).replace(">CHANGE-ME", f"#{digest}")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Valkey with these users alone."""
    folder = tmp_path_factory.mktemp("valkey")
    (folder / "users.acl").write_text(users())
    port = free_port()
    command = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--aclfile", str(folder / "users.acl"), "--logfile", str(folder / "log")]
    process = subprocess.Popen(command, start_new_session=True)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            with redis.Redis(port=port, username="bouquet", password=PASSWORD) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    poll(answers, "the Valkey answers")
    yield port
    process.terminate()
    process.wait(20)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"), "redis")


@pytest.fixture(scope="module")
def tunnel(port: int, certificate: tuple[Path, Path]) -> Iterator[TlsTunnel]:
    tunnel = TlsTunnel(*certificate, port)
    yield tunnel
    tunnel.close()


def test_the_service_works_behind_tls_with_a_user_of_few_rights(
    tunnel: TlsTunnel, certificate: tuple[Path, Path], nursery: Nursery, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"{PASSWORD}\n")
    url = f"rediss://bouquet@127.0.0.1:{tunnel.port}/0?ssl_ca_certs={certificate[0]}"
    environment = {
        "BOUQUET_REDIS_URL": url,
        "BOUQUET_REDIS_PASSWORD_FILE": str(secret),
        "BOUQUET_STORE": str(tmp_path / "images"),
    }
    worker = WorkerProcess.start_light(nursery, "machine", tmp_path / "worker.log", environment, [])
    try:
        with FrontEnd(tmp_path / "api", url, tmp_path / "images", redis_password_file=secret) as front:
            api = front.api
            poll(
                lambda: api.get("/health/ready").status_code == 200 or not worker.is_running, "the service is ready", 20
            )
            assert worker.is_running, worker.tail()
            job = api.post("/generate", json={"seed": 7, "steps": 5}, headers={"Prefer": "wait=20"}).json()
            assert job["status"] == "succeeded", front.log
            assert api.get(job["images"][0]["url"]).status_code == 200
            with api.stream("GET", f"/jobs/{job['id']}/events") as events:
                assert "event: done" in events.read().decode()
            long = api.post("/generate", json={"seed": 1, "steps": 1000, "count": 64}).json()
            assert api.delete(f"/jobs/{long['id']}").json()["status"] == "canceled"
            assert {entry["id"] for entry in api.get("/jobs").json()["jobs"]} == {job["id"], long["id"]}
            assert "bouquet_redis_up 1.0" in api.get("/metrics").text
            assert run("-m", "app.probe", environment={"BOUQUET_PORT": str(api.base_url.port)}) == (
                0,
                "the front end answers",
            )
        code = (
            "import socket, sys; socket.gethostname = lambda: 'machine'; import worker.probe as p; sys.exit(p.main())"
        )
        assert run("-c", code, environment=environment) == (0, "a worker is ready")
        assert worker.stop() == 0, worker.tail()
        assert "NOPERM" not in worker.tail().upper()
        assert "no permissions" not in worker.tail()
    finally:
        worker.close()


def test_a_server_that_another_authority_vouches_for_is_not_spoken_to(tunnel: TlsTunnel, tmp_path: Path) -> None:
    stranger, _ = make_certificate(tmp_path, "stranger")
    url = f"rediss://bouquet:x@127.0.0.1:{tunnel.port}/0?ssl_ca_certs={stranger}"
    code, said = run("-m", "worker.probe", environment={"BOUQUET_REDIS_URL": url})
    assert (code, said) == (1, "the queue's Redis does not answer: ConnectionError")


def test_health_checks_say_what_is_missing(port: int) -> None:
    quoted = PASSWORD.replace(" ", "%20")
    environment = {"BOUQUET_REDIS_URL": f"redis://bouquet:{quoted}@127.0.0.1:{port}/0"}
    code, said = run("-m", "worker.probe", environment=environment)
    assert (code, said) == (1, f"no worker of {socket.gethostname()} is ready")
    code, said = run("-m", "app.probe", environment={"BOUQUET_PORT": str(free_port())})
    assert code == 1
    assert "does not answer: " in said


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
        ("SHUTDOWN",),
        ("MONITOR",),
        ("ACL", "LIST"),
        ("GET", "somebody-elses"),
        ("SET", "somebody-elses", "1"),
        ("PUBLISH", "somebody-elses", "1"),
        ("REPLICAOF", "127.0.0.1", "1"),
    ],
    ids=lambda command: " ".join(command),
)
def test_what_the_service_does_not_need_it_may_not(port: int, command: tuple[str, ...]) -> None:
    with redis.Redis(port=port, username="bouquet", password=PASSWORD) as client:
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
        assert client.set("bouquet:test", "1", ex=1), "what it needs it may"


def test_nobody_else_comes_in(port: int) -> None:
    for credentials in ({}, {"password": "guess"}, {"username": "bouquet", "password": "guess"}):
        client = redis.Redis(port=port, retry=Retry(NoBackoff(), 0), **credentials)
        with client, pytest.raises(redis.exceptions.AuthenticationError):
            client.get("bouquet:model")


def run(*arguments: str, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a health check, run as containers run it."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).strip()
