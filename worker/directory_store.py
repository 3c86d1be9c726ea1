"""Images in a folder, which several processes on several hosts may share."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from worker.protocol import parse_image_name
from worker.store import StoreError

_INCOMING: Final = ".incoming"
_STALE_SECONDS: Final = 3600.0
_USE_SECONDS: Final = 60.0


class DirectoryStore:
    """Images in a folder: `<root>/<revision>/<two hex digits>/<name>`, at most some hundredth of them in one folder.

    An image is written beside the others, flushed to the disk and then renamed, so that a reader sees all of it or
    none, also after a crash or a full disk. Several processes, on several hosts, may share one folder.
    """

    def __init__(self, root: Path) -> None:
        """Touches nothing: the folder is made when the first image comes."""
        self.root = root

    def path(self, name: str) -> Path:
        """Where an image is, or would be. Raises ProtocolError for what is not an image name."""
        address = parse_image_name(name)
        return self.root / address.revision / f"{address.seed % 256:02x}" / name

    def put(self, name: str, data: bytes) -> None:
        path = self.path(name)
        with _explained("write", path):
            incoming = self.root / _INCOMING
            incoming.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=incoming, prefix=f"{name}.")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).chmod(0o644)
                Path(temporary).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(temporary).unlink()
                raise

    def get(self, name: str) -> bytes | None:
        path = self.path(name)
        with _explained("read", path):
            try:
                with path.open("rb") as file:
                    _note_use(file.fileno())
                    return file.read()
            except FileNotFoundError:
                return None

    def exists(self, name: str) -> bool:
        path = self.path(name)
        with _explained("read", path):
            try:
                path.stat()
            except FileNotFoundError:
                return False
            return True

    def delete(self, name: str) -> None:
        path = self.path(name)
        with _explained("delete", path):
            path.unlink(missing_ok=True)

    def sweep(self, *, now: Callable[[], float] = time.time) -> int:
        """Removes what writers that were killed left half written over an hour ago; returns how many files."""
        incoming, removed = self.root / _INCOMING, 0
        with _explained("sweep", incoming):
            for path in list(incoming.iterdir()) if incoming.is_dir() else ():
                with contextlib.suppress(FileNotFoundError):  # then another worker swept it
                    if now() - path.stat().st_mtime > _STALE_SECONDS:
                        path.unlink()
                        removed += 1
        return removed


def _note_use(descriptor: int) -> None:
    """Dates an image to now, once a minute at most: those used least recently are removed first (retention.py).

    Its time of modification says nothing else, since no image ever changes. In a folder that is read-only here, those
    made first are removed first.
    """
    if time.time() - os.fstat(descriptor).st_mtime > _USE_SECONDS:
        with contextlib.suppress(OSError):
            os.utime(descriptor)


@contextlib.contextmanager
def _explained(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Cannot {verb} {path} in the image store: {error.strerror or error}. "
            "Check the folder that BOUQUET_STORE names: its permissions and its free space."
        ) from error
