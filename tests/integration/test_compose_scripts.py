"""The shell scripts in docker-compose.yml: passwords are drawn once, and the queue asks for the one that was drawn."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from app.valkey import find_binary
from tests.addresses import free_port
from tests.processes import poll
from tests.serving import ROOT

SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where `valkey-server` is the embedded one, and the folders of the containers are in `tmp_path`."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "valkey-server").symlink_to(find_binary())
    return os.environ | {"PATH": f"{commands}:{os.environ['PATH']}", "REDIS_MAXMEMORY": "64mb"}


def command(service: str, folder: Path) -> list[str]:
    """What the container runs, with its folders in `folder`."""
    *shell, script = SERVICES[service]["entrypoint"]
    for place in ("/run/bouquet", "/data", "/tmp"):
        (folder / place.strip("/")).mkdir(parents=True, exist_ok=True)
    text = str(script).replace("$$", "$").replace("/run/bouquet", f"{folder}/run/bouquet")
    return [
        *shell,
        text.replace("dir /data", f"dir {folder}/data").replace("/tmp/valkey.conf", f"{folder}/tmp/valkey.conf"),
    ]


def draw(folder: Path, environment: dict[str, str]) -> dict[str, str]:
    subprocess.run(command("secrets", folder), env=environment, check=True)
    return {path.name: path.read_text() for path in (folder / "run/bouquet").iterdir()}


def test_passwords_are_drawn_once_and_are_good(tmp_path: Path, environment: dict[str, str]) -> None:
    first = draw(tmp_path, environment)
    assert first.keys() == {"redis_password", "grafana_password"}
    for password in first.values():
        assert re.fullmatch(r"[0-9a-f]{64}", password)
    assert len(set(first.values())) == 2
    assert draw(tmp_path, environment) == first, "a second start must not change them"


def test_a_password_has_all_the_bytes_that_were_drawn(tmp_path: Path, environment: dict[str, str]) -> None:
    drawn = tmp_path / "urandom"
    drawn.write_bytes(b"\xff" * 64)  # in base64 nothing but slashes
    *shell, script = command("secrets", tmp_path)
    subprocess.run([*shell, script.replace("/dev/urandom", str(drawn))], env=environment, check=True)
    assert (tmp_path / "run/bouquet/redis_password").read_text() == "ff" * 32


def test_the_queue_keeps_and_guards_what_it_is_given(tmp_path: Path, environment: dict[str, str]) -> None:
    password = draw(tmp_path, environment)["redis_password"]
    port = free_port()
    arguments = command("redis", tmp_path)
    arguments[-1] = arguments[-1].replace("dir ", f"port {port}\\nbind 127.0.0.1\\ndir ", 1)
    process = subprocess.Popen(arguments, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, password=password) as client:
            poll(lambda: answers(client, process), "the queue answers")
            asked: dict[str, Any] = client.config_get("*")
            assert (asked["maxmemory-policy"], asked["maxmemory"]) == ("noeviction", str(64 * 2**20))
            assert (asked["appendonly"], asked["appendfsync"], asked["save"]) == ("yes", "always", "")
        with redis.Redis(port=port) as stranger, pytest.raises(redis.exceptions.AuthenticationError):
            stranger.get("x")
        assert password not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert (tmp_path / "tmp/valkey.conf").stat().st_mode & 0o077 == 0
    finally:
        process.terminate()
        assert process.wait(20) == 0, "SIGTERM reaches the server itself"
    assert any((tmp_path / "data").rglob("*.aof"))


def answers(client: redis.Redis, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
