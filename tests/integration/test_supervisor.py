"""The supervisor with real processes and signals: order, restarts, errors, and nothing left behind.

Without workers, so that none of it waits for TensorFlow; tests/acceptance/test_serve.py has those.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
import redis

from app.valkey import socket_url
from tests.processes import poll
from tests.serving import ROOT, Serve
from worker.protocol import QUEUE_NAME, WorkerReadiness, worker_ready_key

PATIENCE = 60.0  # seconds, for whatever a busy machine may hold up


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Serve]:
    with Serve(tmp_path, "--workers", "0") as serve:
        serve.wait_until_live()
        yield serve


def run(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env=env or None,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def positions(serve: Serve, phrases: Sequence[str]) -> list[int]:
    return [serve.text.index(phrase) for phrase in phrases]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_parts_in_order(live: Serve, number: signal.Signals) -> None:
    assert live.end(number, PATIENCE) == 0
    live.assert_nothing_left()
    phrases = [f"{number.name}: stopping", "stopping api", "stopping valkey", "all parts have ended"]
    assert positions(live, phrases) == sorted(positions(live, phrases))
    assert "forced" not in live.text.split("stopping api")[1]


def test_ctrl_c_goes_to_the_group_and_still_stops_in_order(live: Serve) -> None:
    """As a terminal does it: the parts are in sessions of their own and hear of it from the supervisor alone."""
    os.killpg(live.process.pid, signal.SIGINT)
    assert live.wait(PATIENCE) == 0
    assert "ended (" not in live.text


def test_a_killed_valkey_comes_back_with_its_data_and_the_api_goes_on(live: Serve) -> None:
    url = live.wait_until_live()
    job = httpx.post(f"{url}/generate", json={"seed": 7}, timeout=PATIENCE).raise_for_status().json()

    live.kill("valkey")
    live.wait_for(r"valkey ended \(killed by signal 9, SIGKILL; out of memory\?\); starting it again in 0.5 s")
    live.wait_for(r"valkey is process", times=2)

    poll(
        lambda: httpx.get(f"{url}/jobs/{job['id']}", timeout=PATIENCE).status_code == 200,
        "the job is there again",
        PATIENCE,
    )
    assert httpx.get(f"{url}/jobs/{job['id']}", timeout=PATIENCE).json()["status"] == "queued"


def test_a_killed_api_comes_back_and_clients_wait_instead_of_being_refused(live: Serve) -> None:
    url = live.wait_until_live()
    live.kill("api")
    # At once, while there is no API: the supervisor holds the socket.
    assert httpx.get(f"{url}/health/live", timeout=PATIENCE).status_code == 200
    assert len(live.process_ids("api")) == 2
    assert "api ended (killed by signal 9, SIGKILL" in live.text


def test_a_part_that_dies_again_and_again_is_started_later_each_time(live: Serve) -> None:
    for times, delay in enumerate(("0.5", "1", "2"), start=1):
        live.kill("valkey")
        live.wait_for(rf"valkey ended .* starting it again in {delay} s")
        live.wait_for("valkey is process", times=times + 1)


def test_children_do_not_outlive_a_killed_supervisor_and_the_next_one_has_the_jobs(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "0") as first:
        url = first.wait_until_live()
        job = httpx.post(f"{url}/generate", json={"seed": 7}, timeout=PATIENCE).raise_for_status().json()
        first.process.kill()
        first.process.wait()
        first.assert_nothing_left()
    with Serve(tmp_path, "--workers", "0") as second:
        url = second.wait_until_live()
        assert httpx.get(f"{url}/jobs/{job['id']}", timeout=PATIENCE).json()["request"]["seed"] == 7


def test_what_former_workers_said_is_forgotten_at_the_start(tmp_path: Path) -> None:
    """Else a service that was killed and started again would be ready before its worker is."""
    readiness = WorkerReadiness("0123456789ab", 8, 50.0).to_json()
    with Serve(tmp_path, "--workers", "0") as first:
        url = first.wait_until_live()
        with redis.Redis.from_url(socket_url(tmp_path)) as client:
            client.sadd(f"rq:workers:{QUEUE_NAME}", "rq:worker:former")
            client.set(worker_ready_key("former"), readiness)
        assert httpx.get(f"{url}/health/ready", timeout=PATIENCE).status_code == 200
    with Serve(tmp_path, "--workers", "0") as second:
        assert httpx.get(f"{second.wait_until_live()}/health/ready", timeout=PATIENCE).status_code == 503


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--workers", "0", "--home", str(tmp_path), "--port", str(port))
    assert (result.returncode, result.stdout) == (1, "")
    assert f"Port {port} of 127.0.0.1 is in use" in result.stderr
    assert "--port" in result.stderr
    assert not (tmp_path / "queue").exists()


@pytest.mark.parametrize("command", ["serve", "redis"])
def test_a_second_one_on_the_same_home_is_refused_and_the_first_goes_on(live: Serve, command: str) -> None:
    result = run(command, "--home", str(live.home))
    assert result.returncode == 1
    assert f"in use by `bouquet serve` (process {live.process.pid})" in result.stderr
    assert httpx.get(f"{live.wait_until_live()}/health/live", timeout=PATIENCE).status_code == 200


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = run("serve", "--workers", "0", "--home", str(tmp_path / "file" / "home"))
    assert result.returncode == 1
    assert f"--home {tmp_path / 'file' / 'home'} cannot be written to (Not a directory)" in result.stderr


def test_a_missing_backend_is_told_before_anything_starts(tmp_path: Path) -> None:
    result = run("serve", "--home", str(tmp_path), KERAS_BACKEND="no_such_backend", PATH="/usr/bin:/bin")
    assert result.returncode == 1
    assert "no_such_backend cannot be found" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_bad_setting_and_an_unknown_one_are_named(tmp_path: Path) -> None:
    assert "BOUQUET_PORT: " in run("serve", BOUQUET_PORT="http").stderr
    assert "BOUQUET_PROT is not a setting. Did you mean BOUQUET_PORT?" in run("serve", BOUQUET_PROT="8000").stderr


def test_a_queue_elsewhere_is_used_and_one_that_does_not_answer_is_told(live: Serve, tmp_path: Path) -> None:
    elsewhere = {"BOUQUET_REDIS_URL": socket_url(live.home)}
    with Serve(tmp_path / "other", "--workers", "0", env=elsewhere) as serve:
        url = serve.wait_until_live()
        job = httpx.post(f"{url}/generate", json={"seed": 7}, timeout=PATIENCE).raise_for_status().json()
        assert not serve.process_ids("valkey")
    assert httpx.get(f"{live.wait_until_live()}/jobs/{job['id']}", timeout=PATIENCE).status_code == 200

    live.end()
    result = run("serve", "--workers", "0", "--home", str(tmp_path / "other"), **elsewhere)
    assert result.returncode == 1
    assert "The queue that BOUQUET_REDIS_URL names does not answer" in result.stderr


def test_a_damaged_queue_is_told_and_nothing_is_left_running(tmp_path: Path) -> None:
    with Serve(tmp_path, "--workers", "0") as first:
        httpx.post(f"{first.wait_until_live()}/generate", json={"seed": 7}, timeout=PATIENCE).raise_for_status()
    (part,) = (tmp_path / "queue" / "appendonlydir").glob("*.incr.aof")
    part.write_bytes(part.read_bytes().replace(b"$", b"!", 3))
    with Serve(tmp_path, "--workers", "0") as second:
        assert second.wait(PATIENCE) == 1
    assert "Bad file format" in second.text
    assert f"The queue in {tmp_path / 'queue'} cannot be served" in second.text


def test_redis_alone_tells_its_url_and_a_worker_or_api_of_the_home_finds_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "app", "redis", "--home", tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().strip().endswith(f"BOUQUET_REDIS_URL={socket_url(tmp_path)}")
            with redis.Redis.from_url(socket_url(tmp_path)) as client:
                assert client.ping()
        finally:
            server.terminate()
        assert server.wait(15) == 0
    assert not (tmp_path / "queue" / "valkey.sock").exists()
    assert "No queue answers" in run("worker", "--home", str(tmp_path)).stderr
