"""Keeps a second training out of a run's folder, in which each would take the other's checkpoints for its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from model.run_error import RunError


@contextlib.contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Make the folder if need be and hold it; the kernel gives it back when the process dies, however it does.

    The lock's file stays behind on purpose: a lock on a file that is removed and made again would keep nobody out.

    Raises:
        RunError: somebody else holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{folder}: another training is at work in it; wait for its end, or name another folder with --out"
            ) from None
        yield
    finally:
        os.close(descriptor)
