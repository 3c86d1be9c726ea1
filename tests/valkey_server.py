"""A real Valkey for tests: the embedded binary, in a process session and a folder of its own, on a unix socket."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from pathlib import Path

import redis

from app.valkey import find_binary
from tests.processes import poll


class ValkeyServer:
    """Keeps its data in `folder` across `stop` and `start`; across `kill` too if `flush` is "always"."""

    def __init__(self, folder: Path, flush: str = "everysec") -> None:
        self.folder = folder
        self._flush = flush
        self._sockets = tempfile.TemporaryDirectory(prefix="valkey-", dir="/tmp")  # socket paths must be short
        self.socket = Path(self._sockets.name) / "s"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {
            "dir": self.folder,
            "port": 0,
            "unixsocket": self.socket,
            "appendonly": "yes",
            "appendfsync": self._flush,
            "save": "",
            "logfile": self.folder / "valkey.log",
        }
        arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([find_binary(), *arguments], start_new_session=True)
        poll(self._answers, "the Valkey answers")

    def stop(self) -> None:
        """Stops it in order: what it was told is in the append-only file."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def close(self) -> None:
        self.stop()
        self._sockets.cleanup()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def connect(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "valkey.log").read_text()
        try:
            with self.connect() as client:
                return bool(client.ping())
        except redis.ConnectionError:  # BusyLoadingError too
            return False
