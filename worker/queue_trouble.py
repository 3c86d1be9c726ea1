"""What a worker does about a queue that fails: asks again a little later, and takes nobody for dead too soon."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Final

import redis

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.5
"""How long the queue is left alone after an error."""


class QueueTrouble:
    """Remembers when the queue failed last. May be asked and told by any thread."""

    def __init__(self, beat_seconds: float) -> None:
        """Begins without trouble; `beat_seconds` is how often workers renew their leases."""
        self._beat_seconds = beat_seconds
        self._pause_until = 0.0
        self._trust_leases_at = 0.0
        self._told_until = 0.0

    @property
    def is_recent(self) -> bool:
        """Whether the queue is to be left alone for now."""
        return time.monotonic() < self._pause_until

    @property
    def trusts_leases(self) -> bool:
        """Whether a lease that has lapsed means that its worker has died."""
        return time.monotonic() >= self._trust_leases_at

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Notes what Redis raises in the block, and goes on after the block."""
        try:
            yield
        except redis.RedisError as error:
            self.note(error)

    def note(self, error: redis.RedisError) -> None:
        """The queue failed: wait a little before asking again, longer before taking jobs for abandoned."""
        moment = time.monotonic()
        self._pause_until = moment + PAUSE_SECONDS
        if moment >= self._told_until:
            log.warning("trouble with the queue: %s", error)
        self._told_until = moment + 2 * self._beat_seconds  # one line for what goes on
        self.distrust_leases()

    def distrust_leases(self) -> None:
        """Takes no lapsed lease for a death until all who live have had the time to renew theirs."""
        self._trust_leases_at = time.monotonic() + 2 * self._beat_seconds

    def ask_again(self) -> None:
        """Ends a pause early."""
        self._pause_until = 0.0
