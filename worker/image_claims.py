"""Who computes an image that jobs of several workers want at the same time: the worker that claims it first.

A claim is a key that names its holder, and is good for as long as that worker beats (its `worker_ready_key` is there).
So the claims of a worker that dies or hangs lapse with its leases, and nothing has to be renewed. Only its holder takes
a claim away. Claims save work and nothing else: an image is the same whoever computes it, and storing it twice does no
harm. So whoever doubts computes, and nobody can wait for ever.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Final

import redis

from worker.protocol import ImageKey, worker_ready_key

PATIENCE_SECONDS: Final = 60.0
"""For how long somebody else's claim on an image is respected."""

_LIFE_SECONDS: Final = 3600
"""Of a claim that its holder, though alive, has forgotten."""

_LOOK_SECONDS: Final = 0.1
_PREFIX: Final = "bouquet:making:"

_CLAIM: Final = """
-- KEYS: claims. ARGV: who claims, for how many seconds, what comes before and after the name of a worker in the key
-- that is there while it beats. Returns for each claim 1 if it is ours now, 0 if it is somebody else's.
local answers = {}
for i, claim in ipairs(KEYS) do
  local holder = redis.call('GET', claim)
  if holder and holder ~= ARGV[1] and redis.call('EXISTS', ARGV[3] .. holder .. ARGV[4]) == 1 then
    answers[i] = 0
  else
    redis.call('SET', claim, ARGV[1], 'EX', ARGV[2])
    answers[i] = 1
  end
end
return answers
"""

_RELEASE: Final = """
-- KEYS: claims. ARGV: whose they are to be, if they are to be taken away.
for _, claim in ipairs(KEYS) do
  if redis.call('GET', claim) == ARGV[1] then redis.call('DEL', claim) end
end
"""


class ImageClaims:
    """The claims of one worker. For one thread."""

    def __init__(self, connection: redis.Redis, worker_name: str, revision: str) -> None:
        """Begins with none; `revision` is that of the bundle whose images are claimed."""
        self._redis = connection
        self._name = worker_name
        self._revision = revision
        self._ours: set[ImageKey] = set()
        self._waiting_since: dict[ImageKey, float] = {}
        self._next_look = 0.0

    def claim(self, keys: Iterable[ImageKey]) -> set[ImageKey]:
        """Claims images; returns those that somebody else has a claim on. Raises redis.RedisError."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._ours]
        if not wanted:
            return set()
        before, after = worker_ready_key("\0").split("\0")
        script = self._redis.register_script(_CLAIM)
        answers = script(self._keys(wanted), [self._name, _LIFE_SECONDS, before, after])
        others = {key for key, ours in zip(wanted, answers, strict=True) if not ours}
        self._ours.update(key for key in wanted if key not in others)
        moment = time.monotonic()
        self._waiting_since.update({key: self._waiting_since.get(key, moment) for key in others})
        return others

    def is_due(self, now: float) -> bool:
        """Whether it is time to look again whether others are done. `now` is on `time.monotonic`."""
        return now >= self._next_look

    def look_again(self, waiting: Collection[ImageKey], in_hand: Collection[ImageKey], now: float) -> set[ImageKey]:
        """Gives up the claims on images that are no longer in hand; returns those of the waiting ones to compute now.

        Whoever held a claim on these has let it go, or is gone, or has kept us waiting for too long.

        Raises:
            redis.RedisError: the next time will do.
        """
        self._next_look = now + _LOOK_SECONDS
        self._waiting_since = {key: since for key, since in self._waiting_since.items() if key in waiting}
        if done := self._ours.difference(in_hand):
            self._redis.register_script(_RELEASE)(self._keys(done), [self._name])
            self._ours -= done
        others = self.claim(waiting) if waiting else set()
        return {
            key for key in waiting if key not in others or now - self._waiting_since.get(key, now) > PATIENCE_SECONDS
        }

    def _keys(self, keys: Iterable[ImageKey]) -> list[str]:
        return [f"{_PREFIX}{key.name(self._revision)}" for key in keys]
