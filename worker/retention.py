"""Keeps the image store to a size: the images that were used least recently go first.

An image that is gone is made again, byte for byte, by whoever asks at its address: so removing one loses nothing but
the time to make it. Even so, two kinds are never removed, however small the limit: those used within the last ten
minutes, and those of jobs that are running, which may have stored them hours before they are reported.

One process does it at a time, whatever their number, by a lock in Redis. Only for stores in a folder: a bucket in S3 is
kept to size, or to age, by lifecycle rules of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis
from redis.lock import Lock
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from worker.protocol import QUEUE_NAME, STORE_FIGURES_KEY, GenerationRequest, ProtocolError

log = logging.getLogger(__name__)

LOCK_KEY: Final = "bouquet:retention"
UNTOUCHABLE_SECONDS: Final = 600.0
"""For so long after its last use an image stays. A read is noted once a minute at most (worker/directory_store.py)."""

_LOCK_SECONDS: Final = 60.0
_EXTEND_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 60.0
_SHARE_OF_TIME: Final = 0.02
"""At most this share of the time goes into looking through the store, however many images it has."""
_LOW_WATER: Final = 0.9
"""What is removed down to, as a share of the limit, so that it is not done at each look."""

Subject = tuple[str, str]
"""What an image shows, whichever bundle made it: seed and steps, as they are written in its name."""


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What is in a store after a look: images and their bytes; and how many images the look removed."""

    images: int
    size: int
    removed: int = 0


def trim(
    root: Path,
    limit: int,
    running: Callable[[], Collection[Subject]],
    *,
    now: Callable[[], float] = time.time,
    alive: Callable[[], None] = lambda: None,
) -> Found:
    """Removes images of a folder until they are 90 % of `limit` bytes, if they are more than `limit`; 0 is no limit.

    Args:
        root: the folder of a DirectoryStore.
        limit: bytes.
        running: what the jobs that run make; asked once the images have been listed, so that a job which has ended by
            then has been reported.
        now: seconds since 1970, by the clock that dates files.
        alive: called now and then; what it raises ends the work.
    """
    images = size = 0
    for entry in _files(root):
        with contextlib.suppress(FileNotFoundError):
            size, images = size + entry.stat().st_size, images + 1
        alive()
    if not limit or size <= limit:
        return Found(images, size)
    # Only now is a list of them needed: it takes some hundred bytes an image.
    candidates = []
    for entry in _files(root):
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat()
            candidates.append((status.st_mtime, status.st_size, entry.path))
        alive()
    candidates.sort()
    kept, untouchable_since = running(), now() - UNTOUCHABLE_SECONDS
    removed = 0
    for used_at, bytes_, path in candidates:
        if size <= _LOW_WATER * limit or used_at > untouchable_since:
            break
        if _subject(path) not in kept and _remove(path, untouchable_since):
            size, images, removed = size - bytes_, images - 1, removed + 1
        alive()
    return Found(images, size, removed)


def _files(root: Path) -> Iterator[os.DirEntry[str]]:
    """All images under a folder; not what is just being written."""
    folders = [str(root)]
    while folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry


def _subject(path: str) -> Subject | None:
    parts = Path(path).stem.split("-")
    return (parts[1], parts[2]) if len(parts) >= 3 else None


def _remove(path: str, untouchable_since: float) -> bool:
    """Removes a file, unless somebody has used it since it was listed."""
    with contextlib.suppress(FileNotFoundError):
        if Path(path).stat().st_mtime <= untouchable_since:
            Path(path).unlink()
            return True
    return False


def running_subjects(connection: redis.Redis) -> set[Subject]:
    """What the jobs make that workers have begun and not reported. Raises redis.RedisError."""
    registry = StartedJobRegistry(QUEUE_NAME, connection=connection, serializer=JSONSerializer)
    job_ids = registry.get_job_ids(cleanup=False)
    subjects: set[Subject] = set()
    for job in Job.fetch_many(job_ids, connection=connection, serializer=JSONSerializer):
        with contextlib.suppress(ProtocolError):
            if job is not None:
                request = GenerationRequest.from_kwargs(job.kwargs)
                subjects.update((key.origin, str(key.steps)) for key in request.image_keys)
    return subjects


class Retention:
    """Looks through a store now and then, in a thread of its own, while in the context."""

    def __init__(self, root: Path, limit: int, connection: redis.Redis, *, look_seconds: float = _LOOK_SECONDS) -> None:
        """`limit` in bytes, 0 for none; at least `look_seconds` pass between looks of all processes together."""
        self._root = root
        self._limit = int(limit)  # hiredis takes plain numbers only
        self._redis = connection
        self._look_seconds = look_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._look_seconds
        while not self._stop.wait(pause):
            began = time.monotonic()
            try:
                self.look()
            except redis.RedisError as error:
                log.warning("the image store cannot be looked through: %s", error)
            except Exception:
                log.exception("looking through the image store failed")
            pause = max(self._look_seconds, (time.monotonic() - began) / _SHARE_OF_TIME)

    def look(self) -> Found | None:
        """Looks through the store and trims it; None if another process does, or did not long ago."""
        lock = Lock(self._redis, LOCK_KEY, timeout=_LOCK_SECONDS, blocking=False, thread_local=False)
        if not lock.acquire():
            return None
        try:
            looked_at = float(self._redis.hget(STORE_FIGURES_KEY, "looked_at") or 0)
            if 0 <= time.time() - looked_at < self._look_seconds:
                return None
            found = trim(self._root, self._limit, lambda: running_subjects(self._redis), alive=self._keeper_of(lock))
            self._tell(found)
            return found
        except _StoppedError:
            return None
        finally:
            with contextlib.suppress(redis.exceptions.LockError):  # it has lapsed, with us busy for too long
                lock.release()

    def _keeper_of(self, lock: Lock) -> Callable[[], None]:
        extend_at = time.monotonic() + _EXTEND_SECONDS

        def keep() -> None:
            nonlocal extend_at
            if self._stop.is_set():
                raise _StoppedError
            if time.monotonic() > extend_at:
                extend_at = time.monotonic() + _EXTEND_SECONDS
                lock.extend(_LOCK_SECONDS, replace_ttl=True)

        return keep

    def _tell(self, found: Found) -> None:
        if found.removed:
            log.info("%d images were removed; %d are left, of %d bytes", found.removed, found.images, found.size)
        figures: dict[Any, Any] = {
            "images": found.images,
            "bytes": found.size,
            "limit_bytes": self._limit,
            "looked_at": round(time.time(), 3),
        }
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(STORE_FIGURES_KEY, mapping=figures)
            pipeline.hincrby(STORE_FIGURES_KEY, "removed", found.removed)
            pipeline.execute()


class _StoppedError(Exception):
    """The worker is about to end."""
