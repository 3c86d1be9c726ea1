"""The embedded Valkey with real processes: what it keeps, who may use it, and that nothing is left behind."""

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from app import valkey
from app.home import HomeError, HomeLock, prepare_home
from app.tether import Tether
from app.valkey import EmbeddedValkey, ValkeyError
from tests.processes import group_is_gone, poll

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tether() -> Iterator[Tether]:
    tether = Tether()
    yield tether
    tether.close()


class Running:
    """A started server and a client of it."""

    def __init__(self, server: EmbeddedValkey) -> None:
        self.server = server
        self.process = server.spawn()
        poll(lambda: server.is_ready() or self.process.poll() is not None, "Valkey is ready")
        self.client = redis.Redis.from_url(server.url)

    def end(self, number: signal.Signals) -> int:
        self.client.close()
        os.killpg(self.process.pid, number)
        return self.process.wait(15)


@pytest.fixture
def start(tether: Tether) -> Iterator[Callable[[Path], Running]]:
    started: list[Running] = []

    def start(home: Path) -> Running:
        started.append(Running(EmbeddedValkey(home, tether)))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return prepare_home(tmp_path / "home")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_answered_survives_the_server(
    home: Path, start: Callable[[Path], Running], end: signal.Signals
) -> None:
    first = start(home)
    for index in range(100):
        first.client.rpush("jobs", index)
    first.end(end)

    second = start(home)
    assert second.client.lrange("jobs", 0, -1) == [b"%d" % index for index in range(100)]


def test_every_write_is_on_the_disk_before_it_is_answered_and_nothing_is_ever_evicted(
    home: Path, start: Callable[[Path], Running]
) -> None:
    client = start(home).client
    assert client.config_get("appendonly", "appendfsync", "maxmemory", "maxmemory-policy") == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
    }


def test_it_listens_on_a_socket_for_this_user_alone_and_on_no_port(
    home: Path, start: Callable[[Path], Running]
) -> None:
    running = start(home)
    assert running.client.config_get("port")["port"] == "0"
    assert stat.S_IMODE((home / "queue" / "valkey.sock").stat().st_mode) == 0o700


def test_a_home_with_odd_letters(tmp_path: Path, start: Callable[[Path], Running]) -> None:
    home = prepare_home(tmp_path / "fleurs d'été %41?#")
    assert start(home).client.ping()


def test_a_long_home_gets_its_socket_in_a_private_folder(tmp_path: Path, start: Callable[[Path], Running]) -> None:
    home = prepare_home(tmp_path / ("x" * 120))
    running = start(home)
    running.client.set("a", 1)
    folder = valkey.socket_path(home).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    running.end(signal.SIGTERM)
    assert start(home).client.get("a") == b"1"

    start(home).end(signal.SIGTERM)
    running.server.clean_up()
    assert not folder.exists()


def test_a_socket_folder_that_others_can_enter_is_refused(tmp_path: Path, tether: Tether) -> None:
    home = prepare_home(tmp_path / ("y" * 120))
    folder = valkey.socket_path(home).parent
    folder.mkdir(mode=0o755)
    try:
        with pytest.raises(ValkeyError, match="shorter path"):
            EmbeddedValkey(home, tether).spawn()
    finally:
        folder.rmdir()


ORPHAN = """
import os, pathlib, subprocess, sys, time
from app.tether import Tether
from app.valkey import EmbeddedValkey
class Untied(Tether):
    def in_child(self, when_parent_dies): return lambda: None
server = EmbeddedValkey(pathlib.Path(sys.argv[1]), Untied())
process = server.spawn(stdout=subprocess.DEVNULL)
while not server.is_ready(): time.sleep(0.01)
print(process.pid, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("stopped", [False, True], ids=["answers", "hangs"])
def test_an_orphan_of_an_earlier_run_is_ended_and_its_data_kept(
    home: Path, start: Callable[[Path], Running], stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey, "_ORPHAN_GRACE_SECONDS", 5.0)
    orphan = int(subprocess.check_output([sys.executable, "-c", ORPHAN, home], cwd=ROOT))
    try:
        with redis.Redis.from_url(valkey.socket_url(home)) as client:
            client.set("job", "kept")
        if stopped:
            os.kill(orphan, signal.SIGSTOP)
        running = start(home)
        assert running.process.pid != orphan
        poll(lambda: group_is_gone(orphan), "the orphan ended")
        assert running.client.get("job") == b"kept"
    finally:
        if not group_is_gone(orphan):
            os.killpg(orphan, signal.SIGKILL)


PARENT = """
import pathlib, signal, sys, time
from app.tether import Tether
from app.valkey import EmbeddedValkey
server = EmbeddedValkey(pathlib.Path(sys.argv[1]), Tether(by_kernel=sys.argv[2] == "kernel"))
process = server.spawn()
while not server.is_ready(): time.sleep(0.01)
print(process.pid, flush=True)
signal.pause()
"""


@pytest.mark.parametrize(
    "means",
    [
        pytest.param("kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")),
        "watchdog",
    ],
)
def test_it_does_not_outlive_a_killed_parent(home: Path, means: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, home, means], cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert not group_is_gone(server)
        parent.kill()
    poll(lambda: group_is_gone(server), "Valkey ended with its parent")


def test_a_second_user_of_a_home_is_told_of_the_first(home: Path) -> None:
    first = f"in use by `bouquet serve` (process {os.getpid()})"
    with HomeLock(home, "bouquet serve"), pytest.raises(HomeError, match=re.escape(first)):
        HomeLock(home, "bouquet redis").__enter__()
    with HomeLock(home, "bouquet redis"):
        pass


def test_a_damaged_file_is_reported_in_the_log(home: Path, start: Callable[[Path], Running]) -> None:
    running = start(home)
    running.client.set("job", "x" * 100)
    running.end(signal.SIGTERM)
    (part,) = (home / "queue" / "appendonlydir").glob("*.incr.aof")
    damaged = bytearray(part.read_bytes())
    damaged[10:20] = b"\xff" * 10
    part.write_bytes(damaged)
    offset = running.server.log_path.stat().st_size

    again = start(home)
    assert again.process.wait(15) != 0
    assert "Bad file format" in running.server.log_since(offset)
