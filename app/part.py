"""A part of the service: one child process, its lines of output and its end."""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

from app.console import Console

_LONGEST_LINE = 1 << 16
_HURRY_SECONDS = 3.0


def describe_exit(code: int) -> str:
    """Say in words how a process ended, from subprocess' return code (negative: the signal that killed it)."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = "; out of memory?" if -code == signal.SIGKILL else ""
    return f"killed by signal {-code}, {name}{hint}"


class Part:
    """Runs at most one process at a time; lives in one event loop, whose owner calls `check` on each SIGCHLD.

    Invariant: the process leads a group of its own, so whatever it may have started can be ended with it.
    """

    def __init__(self, name: str, launch: Callable[[], "subprocess.Popen[bytes]"], console: Console) -> None:
        """`launch` starts the process, with stdout=PIPE."""
        self.name = name
        self._launch = launch
        self._console = console
        self._process: subprocess.Popen[bytes] | None = None
        self._exit_code: asyncio.Future[int] | None = None
        self._started_at = 0.0
        self._unfinished_line = b""

    @property
    def process_id(self) -> int | None:
        """The process' number while it runs."""
        return self._process.pid if self._process is not None else None

    @property
    def seconds_up(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self._started_at

    def start(self) -> None:
        """Start the process. Raises whatever `launch` raises."""
        loop = asyncio.get_running_loop()
        self._process = self._launch()
        self._started_at = time.monotonic()
        self._exit_code = loop.create_future()
        if self._process.stdout is not None:
            os.set_blocking(self._process.stdout.fileno(), False)
            loop.add_reader(self._process.stdout.fileno(), self._read)

    def check(self) -> None:
        """Notice the end of the process, if it has ended."""
        if self._process is None or self._exit_code is None or (code := self._process.poll()) is None:
            return
        self._end_group(self._process.pid)
        if (pipe := self._process.stdout) is not None:
            self._read()
            asyncio.get_running_loop().remove_reader(pipe.fileno())
            pipe.close()
        if self._unfinished_line:
            self._say(self._unfinished_line)
            self._unfinished_line = b""
        self._process = None
        self._exit_code.set_result(code)

    async def ended(self) -> int:
        """Wait for the end of the process and return its exit code (subprocess' convention)."""
        if self._exit_code is None:
            raise RuntimeError(f"{self.name} was never started")
        return await asyncio.shield(self._exit_code)

    async def stop(self, grace_seconds: float, hurry: asyncio.Event) -> int | None:
        """Ask the process to end, ask again once `hurry` is set, and force it when its time is over.

        Args:
            grace_seconds: its time; much less is left of it in a hurry.
            hurry: that somebody waits impatiently.

        Returns:
            the exit code, or None if nothing ran.
        """
        if self._process is None:
            return None
        group = self._process.pid
        ended = asyncio.ensure_future(self.ended())
        hurried = asyncio.ensure_future(hurry.wait())
        self._process.terminate()
        await asyncio.wait({ended, hurried}, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        if hurry.is_set() and self._process is not None:
            self._process.terminate()
            await asyncio.wait({ended}, timeout=min(grace_seconds, _HURRY_SECONDS))
        hurried.cancel()
        if not ended.done():
            self._console.line(self.name, "did not end in time: forced")
            self._end_group(group)
        return await ended

    @staticmethod
    def _end_group(leader: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(leader, signal.SIGKILL)

    def _read(self) -> None:
        """Pass on the lines that are there."""
        process = self._process
        if process is None or process.stdout is None:
            return
        while True:
            try:
                data = os.read(process.stdout.fileno(), _LONGEST_LINE)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(process.stdout.fileno())
                return
            *lines, self._unfinished_line = (self._unfinished_line + data).split(b"\n")
            for line in lines:
                self._say(line)
            if len(self._unfinished_line) > _LONGEST_LINE:
                self._say(self._unfinished_line)
                self._unfinished_line = b""

    def _say(self, line: bytes) -> None:
        self._console.line(self.name, line.decode(errors="replace").rstrip("\r"))
