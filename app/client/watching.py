"""Watching a job over as many connections as it takes: what to ask each time, when to come again, when to give up."""

from __future__ import annotations

import time
from collections.abc import Mapping

from app.client.core import Answer, Call, Core
from app.client.events import EventDecoder, JobEvent


class Watching:
    """What both clients share of it. It does not touch the network, nor wait."""

    def __init__(self, core: Core, job_id: str, last_event_id: str | None) -> None:
        """Events are told from after `last_event_id` on; None: from the first."""
        self._core = core
        self._job_id = job_id
        self._decoder = EventDecoder(last_event_id)
        self._refusal: Answer | None = None
        self._lost_since: float | None = None

    def call(self) -> Call:
        """The request to make next."""
        self._decoder.begin()
        self._refusal = None
        return self._core.watch_call(self._job_id, self._decoder.last_event_id)

    def begins(self, call: Call, status: int, headers: Mapping[str, str], content: bytes) -> bool:
        """Whether this answer begins a stream; False while the server is away. Raises ClientError for other answers."""
        answer = Answer(status, headers, content)
        if self._core.stream_begins(call, answer):
            return True
        self._refusal = answer
        return False

    def feed(self, line: str) -> JobEvent | None:
        """Takes a line of the stream, which ends an outage; returns the event that it completes, if it does."""
        self._lost_since = None
        return self._decoder.feed(line)

    def pause(self, reason: str) -> float:
        """Seconds until the next request, now that the stream broke off for that reason, or did not begin.

        Raises:
            UnreachableError: the server has been away for as long as is to be waited (`Retries.restart`).
            UnavailableError: as long, and it has last told by a problem what is missing.
        """
        now = time.monotonic()
        # From the break on: a silence, or an event that is held for long, is no outage yet.
        self._lost_since = now if self._lost_since is None else self._lost_since
        if now - self._lost_since >= self._core.retries.restart:
            raise self._core.lost(reason) if self._refusal is None else self._core.refused(self._refusal)
        return self._decoder.retry_seconds
