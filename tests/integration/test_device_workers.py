"""`bouquet worker --devices`: production workers, one for each name of a GPU, whether or not there is such a GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from tests.processes import group_is_gone, poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import ROOT, SHORT_LEASES, Jobs
from worker.protocol import READY_KEY_PATTERN


class Command:
    """`python -m worker --devices ...` in a process group of its own."""

    def __init__(self, log: Path, environment: dict[str, str], *options: str) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", "--name", "host", *options],
                cwd=ROOT,
                env=os.environ | SHORT_LEASES | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        if not group_is_gone(self.process.pid):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def environment(valkey: ValkeyServer, tiny_bundle_path: Path, store_folder: Path) -> dict[str, str]:
    return {
        "BOUQUET_REDIS_URL": valkey.url,
        "BOUQUET_STORE": str(store_folder),
        "BOUQUET_BUNDLE": str(tiny_bundle_path),
        "BOUQUET_SLOTS": "2",
    }


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    started: list[Command] = []
    yield started
    for command in started:
        command.close()


def ready(client: redis.Redis) -> dict[str, int]:
    """The workers that are ready: how their names begin, and the numbers of their processes."""
    keys = cast(list[bytes], list(client.scan_iter(READY_KEY_PATTERN)))
    names = [key.decode().split(":")[2].rsplit("-", 2) for key in keys]
    return {name: int(process) for name, process, _ in names}


@pytest.mark.timeout(600)
def test_each_gpu_has_a_worker_and_they_end_together(
    commands: list[Command], environment: dict[str, str], tmp_path: Path, client: redis.Redis, jobs: Jobs
) -> None:
    commands.append(Command(tmp_path / "log", environment | {"CUDA_VISIBLE_DEVICES": "7,8,9"}, "--devices", "0,2"))
    (command,) = commands
    poll(lambda: set(ready(client)) == {"host-gpu0", "host-gpu1"}, "both are ready", 180)
    first = ready(client)
    for name, gpu in (("host-gpu0", "7"), ("host-gpu1", "9")):
        assert f"{name} is process {first[name]}, on {gpu}" in command.said
        if (variables := Path(f"/proc/{first[name]}/environ")).exists():
            assert f"CUDA_VISIBLE_DEVICES={gpu}".encode() in variables.read_bytes().split(b"\0")
    os.kill(first["host-gpu1"], signal.SIGKILL)
    posted = [jobs.post(20, number, 2) for number in range(6)]
    jobs.finish(posted)
    poll(lambda: ready(client).get("host-gpu1") not in (None, first["host-gpu1"]), "it has been started again", 180)
    assert "host-gpu1 has ended (killed by signal 9); it is started again" in command.said
    command.process.terminate()
    assert command.process.wait(30) == 0
    assert group_is_gone(command.process.pid)
    assert ready(client) == {}


def test_workers_do_not_outlive_a_command_that_is_killed(
    commands: list[Command], environment: dict[str, str], tmp_path: Path
) -> None:
    if sys.platform != "linux":
        pytest.skip("by the kernel, on Linux")
    commands.append(Command(tmp_path / "log", environment, "--devices", "0,1"))
    (command,) = commands
    poll(lambda: command.said.count(" is process ") == 2, "both are started", 60)
    command.process.kill()
    command.process.wait()
    poll(lambda: group_is_gone(command.process.pid), "the workers are gone")


def test_what_cannot_be_served_is_told_once_and_ends_the_command(
    commands: list[Command], environment: dict[str, str], tmp_path: Path
) -> None:
    nothing = {"BOUQUET_BUNDLE": str(tmp_path / "nothing.safetensors")}
    commands.append(Command(tmp_path / "log", environment | nothing, "--devices", "0"))
    (command,) = commands
    assert command.process.wait(180) == 2  # only after TensorFlow is there
    assert "host-gpu0 cannot start; its lines above say what to change" in command.said
    assert "nothing.safetensors" in command.said


def test_devices_that_there_are_not_are_refused_at_once(
    commands: list[Command], environment: dict[str, str], tmp_path: Path
) -> None:
    commands.append(Command(tmp_path / "log", environment | {"CUDA_VISIBLE_DEVICES": ""}, "--devices", "all"))
    (command,) = commands
    assert command.process.wait(30) == 2
    assert "no GPU of NVIDIA was found" in command.said
