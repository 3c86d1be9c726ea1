"""Bouquet's parts as processes of their own, in a home of their own, for as long as a benchmark needs them."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from app import valkey

PATIENCE_SECONDS = 120.0


class Part:
    """``bouquet NAME OPTIONS`` as a process; ended, in order, when the block ends."""

    def __init__(self, name: str, home: Path, *options: str, **environment: str) -> None:
        self._command = [sys.executable, "-m", "app", name, "--home", str(home), *options]
        self._environment = {**os.environ, "BOUQUET_LOG_LEVEL": "warning", **environment}
        self._log = home / f"{name}.log"

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self._log.read_text(), file=sys.stderr)
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)

    @property
    def pid(self) -> int:
        return self._process.pid

    def resident_mib(self) -> float:
        """Resident memory in MiB."""
        kilobytes = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(kilobytes.group(1)) / 1024 if kilobytes else float("nan")


@contextlib.contextmanager
def embedded_queue(home: Path) -> Iterator[None]:
    """The embedded Valkey of `home`, from when it answers."""
    with Part("redis", home):
        wait_until(lambda: valkey.answers(home))
        yield


def free_port() -> int:
    """A port of the loopback address that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether a GET is answered with success."""
    try:
        return httpx.get(url, timeout=5.0).is_success
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool]) -> float:
    """Poll every 10 ms; returns the seconds it took. Raises TimeoutError after ``PATIENCE_SECONDS``."""
    started = time.perf_counter()
    while not condition():
        if time.perf_counter() - started > PATIENCE_SECONDS:
            raise TimeoutError(f"waited {PATIENCE_SECONDS:g} s in vain")
        time.sleep(0.01)
    return time.perf_counter() - started
