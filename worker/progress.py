"""What watchers see of running jobs: progress and previews, written no more often than needed, few in a round trip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import redis

from worker.protocol import (
    Ended,
    JobMessage,
    Preview,
    Progress,
    message_channel,
    progress_key,
    watch_key,
    write_message,
)

_INTERVAL: Final = 0.1
_LIFE: Final = 3600


class ProgressBoard:
    """Writes the progress of jobs to Redis, each at most ten times a second, and only what has changed.

    With the same round trip it learns which jobs are watched; only of those it publishes anything.
    """

    def __init__(self, connection: redis.Redis) -> None:
        self._connection = connection
        self._written: dict[str, Progress] = {}
        self._watched: frozenset[str] = frozenset()
        self._next = 0.0

    @property
    def watched(self) -> frozenset[str]:
        """The jobs that were watched at the last write."""
        return self._watched

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
        running = list(progress)
        with self._connection.pipeline(transaction=False) as pipeline:
            for job_id, value in changed.items():
                pipeline.hset(progress_key(job_id), mapping=value.to_hash())
                pipeline.expire(progress_key(job_id), _LIFE)
                if job_id in self._watched:
                    pipeline.publish(message_channel(job_id), write_message(value))
            pipeline.mget([watch_key(job_id) for job_id in running])
            marks = pipeline.execute()[-1]
        self._written |= changed
        self._watched = frozenset(job_id for job_id, mark in zip(running, marks, strict=True) if mark is not None)

    def show(self, previews: Iterable[tuple[str, Preview]]) -> None:
        """Publishes previews of jobs, each with the job's id. Raises redis.RedisError."""
        self._publish(previews)

    def end(self, job_ids: Iterable[str]) -> None:
        """Tells those who watch that jobs have ended. Raises redis.RedisError."""
        self._publish((job_id, Ended()) for job_id in job_ids)

    def _publish(self, messages: Iterable[tuple[str, JobMessage]]) -> None:
        watched = [(job_id, message) for job_id, message in messages if job_id in self._watched]
        if not watched:
            return
        with self._connection.pipeline(transaction=False) as pipeline:
            for job_id, message in watched:
                pipeline.publish(message_channel(job_id), write_message(message))
            pipeline.execute()
