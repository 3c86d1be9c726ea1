"""A Valkey that others reach over the network, as they do where it has a host of its own: TCP, and a password."""

from __future__ import annotations

import subprocess
from pathlib import Path

import redis

from app.valkey import find_binary
from tests.addresses import free_port
from tests.processes import poll


class TcpValkey:
    """Started when made; keeps its data in `folder`."""

    def __init__(self, folder: Path, host: str, password: str) -> None:
        folder.mkdir(parents=True)
        port = free_port(host)
        self.url = f"redis://:{password}@{host}:{port}/0"
        configuration = folder / "valkey.conf"  # a command line could be read by everybody
        configuration.write_text(
            f"bind {host}\nport {port}\nrequirepass {password}\ndir {folder}\nlogfile {folder}/valkey.log\n"
            'appendonly yes\nsave ""\nmaxmemory-policy noeviction\n'
        )
        self._log = folder / "valkey.log"
        self._process = subprocess.Popen([find_binary(), configuration], start_new_session=True)
        poll(self._answers, "the Valkey answers")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False
