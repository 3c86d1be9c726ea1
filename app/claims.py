"""Which job a key stands for: what makes a request with an `Idempotency-Key`, or the same flower, one job only.

A claim and its job are written in one transaction, so there is never a claim without its job, or a second job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Final, cast

import redis
import redis.asyncio

from worker.protocol import RESULT_TTL

if TYPE_CHECKING:
    from collections.abc import Callable

    AsyncRedis = redis.asyncio.Redis
    AsyncPipeline = redis.asyncio.client.Pipeline

_MAX_RACES: Final = 20

CLAIM_TTL: Final = RESULT_TTL
"""Seconds from the submission on. A finished job has to be kept as long from its end on, and so outlives its claim."""


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """The job of a key, and a fingerprint of the request that made it."""

    job_id: str
    fingerprint: str


class Claims:
    """Keeps claims in Redis, under the hash of their keys."""

    def __init__(self, connection: AsyncRedis, ttl: int = CLAIM_TTL) -> None:
        """`ttl`: seconds that a claim lives."""
        self._redis = connection
        self._ttl = ttl

    async def submit(
        self,
        key: str,
        claim: Claim,
        write: Callable[[AsyncPipeline], None],
        *,
        replacing: Claim | None = None,
    ) -> Claim | None:
        """Writes a job together with the claim on `key`, unless another than `replacing` holds it already.

        Returns the claim that holds the key: None if it is the one given, and the job was written.
        """
        name = _key(key)
        for _ in range(_MAX_RACES):
            # Another claim came first, or the connection broke while watching: look again.
            with contextlib.suppress(redis.WatchError):
                async with self._redis.pipeline(transaction=True) as pipeline:
                    await pipeline.watch(name)
                    held = _claim(cast("bytes | None", await pipeline.get(name)))
                    if held is not None and held != replacing:
                        return held
                    pipeline.multi()
                    pipeline.set(name, json.dumps(dataclasses.asdict(claim)), ex=self._ttl)
                    write(pipeline)
                    await pipeline.execute()
                    return None
        raise redis.TimeoutError(f"the claim on a key changed at each of {_MAX_RACES} attempts to take it")

    async def holder(self, key: str) -> Claim | None:
        """The claim that holds `key`, if any does."""
        return _claim(cast("bytes | None", await self._redis.get(_key(key))))


def fingerprint(*parts: object) -> str:
    """A short text that two requests share only if they are the same."""
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def _key(key: str) -> str:
    return f"bouquet:claim:{hashlib.sha256(key.encode()).hexdigest()}"


def _claim(text: bytes | None) -> Claim | None:
    return None if text is None else Claim(**json.loads(text))
