"""The home folder: where `bouquet serve` keeps its queue and its images, and the lock that keeps a second one out."""

import fcntl
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from app.command_error import CommandError


class HomeError(CommandError):
    """The home folder cannot be used; the text says why and what to do next."""


def prepare_home(home: Path) -> Path:
    """Create the home folder if need be and return its absolute path.

    Raises:
        HomeError: it cannot be created, is not a folder, or is not writable.
    """
    home = home.expanduser().absolute()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Permission bits do not tell of read-only mounts, quotas or full disks: only writing does.
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"bouquet")
    except OSError as error:
        raise HomeError(
            f"--home {home} cannot be written to ({error.strerror}). "
            "Name a folder of yours with --home DIR, or set BOUQUET_HOME."
        ) from error
    return home


class HomeLock:
    """Held by the one process that runs the embedded queue of a home; the kernel gives it back when that process dies.

    The file stays behind on purpose: a lock on a file that is removed and made again would not keep anybody out.
    """

    def __init__(self, home: Path, command: str) -> None:
        """`command` (say, "bouquet serve") is what a second one is told about the first."""
        self.path = home / "lock"
        self._command = command
        self._descriptor = -1

    def __enter__(self) -> Self:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise HomeError(
                f"{self.path.parent} is in use by {holder}. Stop that first, or give this one a home of its own with "
                "--home DIR (and its own --port)."
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"`{self._command}` (process {os.getpid()})\n".encode(), 0)
        self._descriptor = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
