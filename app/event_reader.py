"""One who watches a job: what is still to be sent to it. A slow reader misses previews and progress, never a status."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Hashable, Mapping

from app import sse
from app.job_moments import Moment, job_at, moments_between
from app.schemas import Job, JobStatus, WatchedProgress


@dataclasses.dataclass(frozen=True)
class Sight:
    """A job at one moment, with its events as they go over the wire: made once, whoever watches."""

    job: Job
    moment: Moment
    _statuses: dict[Moment, bytes] = dataclasses.field(default_factory=dict, init=False, compare=False)

    @functools.cached_property
    def progress(self) -> bytes:
        """The event `progress`."""
        shown = WatchedProgress(**self.job.progress.model_dump(), queue=self.job.queue)
        return sse.event("progress", shown.model_dump_json())

    @functools.cached_property
    def done(self) -> bytes:
        """The event `done`."""
        return sse.event("done", self.job.model_dump_json(), self.moment.done_id)

    def status(self, moment: Moment) -> bytes:
        """The event `status` of this moment, or of one before it."""
        if moment not in self._statuses:
            job = self.job if moment == self.moment else job_at(moment, self.job)
            self._statuses[moment] = sse.event("status", job.model_dump_json(), moment.event_id)
        return self._statuses[moment]


class EventReader:
    """A mailbox between the job's watch and a connection.

    Bounded: it holds each change of status, but only the latest progress and the latest preview of each image (64 at
    most); and the bytes are the same for all who read.
    """

    def __init__(self, seen: Moment | None = None) -> None:
        """Makes a reader that has seen a moment of the job already, or nothing."""
        self._seen = seen
        self._waiting: dict[Hashable, bytes] = {}
        self._news = asyncio.Event()
        self._sight: Sight | None = None
        self._met = asyncio.Event()
        self._trouble: Exception | None = None
        self.is_ended = False
        """Whether nothing will come any more, beyond what is waiting."""

    async def meet(self) -> Sight | None:
        """Waits until the job has been seen, and returns it; None if there is none, or if the reader was ended before.

        Raises what `fail` was given.
        """
        await self._met.wait()
        if self._trouble is not None and self._sight is None:
            raise self._trouble
        return self._sight

    @property
    def is_empty(self) -> bool:
        """Whether nothing is waiting."""
        return not self._waiting

    @property
    def follows_run(self) -> bool:
        """Whether progress and previews may be given: the reader has been told that the job runs."""
        return self._sight is not None and self._sight.moment.status is JobStatus.RUNNING

    def see(self, sight: Sight, previews: Mapping[int, bytes]) -> None:
        """Takes in the job as it is now; `previews` are the latest that there are, by seed."""
        if self.is_ended:
            return
        began_to_run = not self.follows_run and sight.moment.status is JobStatus.RUNNING
        for moment in moments_between(self._seen, sight.moment):
            self._put(moment, sight.status(moment))
        self._seen, self._sight = sight.moment, sight
        self._met.set()
        if sight.moment.status.is_terminal:
            self._put("done", sight.done)
            self.end()
        elif began_to_run:
            self.give_progress(sight.progress)
            for seed, preview in previews.items():
                self.give_preview(seed, preview)

    def give_progress(self, event: bytes) -> None:
        """Takes an event that replaces the one before it."""
        self._put("progress", event)

    def give_preview(self, seed: int, event: bytes) -> None:
        """Takes an event that replaces the one before it of the same image."""
        self._put(("preview", seed), event)

    def end(self) -> None:
        """Gives out what is waiting, and nothing more."""
        self.is_ended = True
        self._news.set()
        self._met.set()

    def fail(self, error: Exception) -> None:
        """Tells a reader that has not met its job yet why it cannot; others wait for better times."""
        self._trouble = error
        self._met.set()

    async def take(self, seconds: float) -> bytes:
        """All that is waiting, in order, as soon as there is something; nothing if that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return b""
        waiting = b"".join(self._waiting.values())
        self._waiting.clear()
        if not self.is_ended:
            self._news.clear()
        return waiting

    def _put(self, key: Hashable, event: bytes) -> None:
        self._waiting.pop(key, None)  # the new one takes its place in time, not that of the old one
        self._waiting[key] = event
        self._news.set()
