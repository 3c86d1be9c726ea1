"""How much work is waiting, and how fast it goes: what the queue limit, Retry-After and eta_seconds are computed from.

The load is derived from the queue itself at each look (ids tell how much work a job is), so it cannot drift: a worker
that dies, a job that is given back or canceled need no bookkeeping here. A look costs a few round trips and time
linear in the queue's length, so it is kept for half a second, longer for very long queues; what this front end itself
has submitted since then is added.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import math
import time
from typing import TYPE_CHECKING, Final

import redis.asyncio
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from app.job_ids import FOREIGN_IMAGE_STEPS, image_steps_of
from app.job_queue import QUEUE_KEY, STARTED_KEY
from worker.protocol import (
    MODEL_KEY,
    QUEUE_NAME,
    ProtocolError,
    WorkerReadiness,
    progress_key,
    worker_ready_key,
)

if TYPE_CHECKING:
    AsyncRedis = redis.asyncio.Redis

KEEP_SECONDS: Final = 0.5
SHARE_OF_TIME: Final = 0.02
"""At most this share of the time goes into looking."""

_WORKERS_KEY: Final = WORKERS_BY_QUEUE_KEY % QUEUE_NAME
_WORKER_KEY_PREFIX: Final = b"rq:worker:"

# One string instead of a list: a client reads it in a fraction of the time. Ids as app.job_ids makes them.
# ARGV[1] is what a foreign job costs; the rest are ids, and those that are waiting are told back.
_WAITING_SCRIPT: Final = """
local asked, costs, found = {}, {}, {}
for i = 2, #ARGV do asked[ARGV[i]] = true end
for i, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  costs[i] = string.match(id, '^%x+%-([1-9]%d?%d?%d?%d?)$') or ARGV[1]
  if asked[id] then found[#found + 1] = id end
end
return {table.concat(costs, ' '), found}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class QueueLoad:
    """One look at the queue and its workers. Work is counted in image-steps.

    `ahead[i]` is the work in the queue before the job at position i; its last element is all of it.
    """

    ahead: list[int] = dataclasses.field(default_factory=lambda: [0])
    running: int = 0
    rate: float = 0.0
    workers: int = 0
    revision: str | None = None

    @property
    def waiting(self) -> int:
        return self.ahead[-1]

    @property
    def jobs(self) -> int:
        return len(self.ahead) - 1

    def eta_seconds(self, position: int, image_steps: int) -> float | None:
        """Seconds until a job of `image_steps` at `position` will be finished; None while nobody works."""
        if self.rate <= 0:
            return None
        before = self.ahead[min(position, self.jobs)]
        return round((self.running + before + image_steps) / self.rate, 1)

    def seconds_until_room(self, image_steps: int, limit: int) -> float | None:
        """Seconds until a job of `image_steps` will fit under `limit`; None while nobody works."""
        if self.rate <= 0:
            return None
        excess = self.waiting - max(limit - image_steps, 0)
        return max(excess, 0) / self.rate


class LoadMeter:
    """Looks at the load, now and then. One look serves all who ask at the same time."""

    def __init__(self, connection: AsyncRedis) -> None:
        self._redis = connection
        self._load = QueueLoad()
        self._looked_at = self._stale_at = -math.inf
        self._lock = asyncio.Lock()
        self._on_their_way: dict[str, int] = {}
        self._reserved_meanwhile: list[int] = []

    async def look(self, *, max_age: float = math.inf) -> QueueLoad:
        """The load with what was reserved since: half a second old at most, or `max_age` seconds if that is less."""
        asked_at = time.monotonic()
        if self._is_stale(asked_at, max_age):
            async with self._lock:
                # Whoever waited for the lock may find that the look he wanted has been taken meanwhile.
                if self._is_stale(asked_at, max_age):
                    await self._look()
        return self._load

    def expire(self) -> None:
        """Makes the next one look anew: something is known to have changed."""
        self._stale_at = -math.inf

    def _is_stale(self, now: float, max_age: float) -> bool:
        return now >= self._stale_at or now > self._looked_at + max_age

    def reserve(self, job_id: str, image_steps: int, limit: int) -> int | None:
        """Counts a job that is about to be submitted, and returns its position in the queue.

        None if it would bring the waiting work over `limit`. Into an empty queue everything is let, or a job larger
        than the limit could never be. Whoever reserves calls `settle` once the job is written, or will not be.
        """
        ahead = self._load.ahead
        if ahead[-1] and ahead[-1] + image_steps > limit:
            return None
        ahead.append(ahead[-1] + image_steps)
        self._on_their_way[job_id] = image_steps
        self._reserved_meanwhile.append(image_steps)
        return len(ahead) - 2

    def settle(self, job_id: str) -> None:
        """A reserved job is in the queue, or will not come: from now on a look alone tells. No error if unknown."""
        self._on_their_way.pop(job_id, None)

    async def _look(self) -> None:
        began = time.monotonic()
        self._reserved_meanwhile = []
        on_their_way = dict(self._on_their_way)
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.eval(_WAITING_SCRIPT, 1, QUEUE_KEY, str(FOREIGN_IMAGE_STEPS), *on_their_way)
            pipeline.zrange(STARTED_KEY, 0, -1)
            pipeline.smembers(_WORKERS_KEY)
            pipeline.get(MODEL_KEY)
            (costs, arrived), started, workers, model = await pipeline.execute()
        for job_id in arrived:
            del on_their_way[job_id.decode()]
        running = [execution.decode().split(":")[0] for execution in started]
        names = [key.removeprefix(_WORKER_KEY_PREFIX).decode() for key in workers]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for job_id in running:
                pipeline.hget(progress_key(job_id), "steps_done")
            for name in names:
                pipeline.get(worker_ready_key(name))
            answers = await pipeline.execute() if running or names else []
        coming = (*on_their_way.values(), *self._reserved_meanwhile)
        left = (max(image_steps_of(job_id) - int(done or 0), 0) for job_id, done in zip(running, answers, strict=False))
        ready = [readiness for text in answers[len(running) :] if (readiness := _readiness(text))]
        self._load = QueueLoad(
            # What was reserved, before or during this look, and is not in it yet stays added until the next one.
            ahead=list(itertools.accumulate((*map(int, costs.split()), *coming), initial=0)),
            running=sum(left),
            rate=sum(readiness.image_steps_per_second for readiness in ready),
            workers=len(ready),
            revision=_revision(model),
        )
        self._looked_at = began
        now = time.monotonic()
        self._stale_at = now + max(KEEP_SECONDS, (now - began) / SHARE_OF_TIME)


def _readiness(text: bytes | None) -> WorkerReadiness | None:
    try:
        return WorkerReadiness.from_json(text) if text is not None else None
    except ProtocolError:
        return None  # a worker of another version: it works, but its rate is not known here


def _revision(model: bytes | None) -> str | None:
    revision = json.loads(model).get("revision") if model else None
    return revision if isinstance(revision, str) else None
