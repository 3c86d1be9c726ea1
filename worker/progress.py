"""What watchers see of running jobs: a hash for each, written no more often than needed, all in one round trip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import redis

from worker.protocol import Progress, progress_key

_INTERVAL: Final = 0.1
_LIFE: Final = 3600


class ProgressBoard:
    """Writes the progress of jobs to Redis, each at most ten times a second, and only what has changed."""

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection
        self._written: dict[str, Progress] = {}
        self._next = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time to write again. `now` is in seconds, on any clock that does not go back."""
        return now >= self._next

    def write(self, progress: Mapping[str, Progress], now: float) -> None:
        """Writes the progress of all running jobs; jobs that are not named any more are forgotten.

        Raises:
            redis.RedisError: it could not be written; the next time will.
        """
        self._next = now + _INTERVAL
        changed = {job_id: value for job_id, value in progress.items() if self._written.get(job_id) != value}
        self._written = {job_id: value for job_id, value in self._written.items() if job_id in progress}
        if not changed:
            return
        with self._connection.pipeline(transaction=False) as pipeline:
            for job_id, value in changed.items():
                pipeline.hset(progress_key(job_id), mapping=value.to_hash())
                pipeline.expire(progress_key(job_id), _LIFE)
            pipeline.execute()
        self._written |= changed
