"""A flood of requests against a queue that can hold a part of them: what is refused, and who is answered meanwhile."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterator

from benchmarks.api_connection import Answer, Connection

_CONNECTIONS = 200
_PROBE_SECONDS = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class Flood:
    """Answers by status; refusals without a Retry-After; seconds of each probe meanwhile, and probes that failed."""

    statuses: collections.Counter[int]
    without_retry_after: int
    lasted: float
    probes: list[float]
    failed_probes: int


def flood(port: int, posts: int, first_seed: int, *, with_keys: bool = False) -> Flood:
    """Sends requests as fast as they are answered, on many connections, while one client asks for other things.

    `with_keys`: each has an Idempotency-Key, as those of `app.client` have.
    """
    return asyncio.run(_flood(port, iter(range(first_seed, first_seed + posts)), with_keys))


async def _flood(port: int, seeds: Iterator[int], with_keys: bool) -> Flood:
    statuses: collections.Counter[int] = collections.Counter()
    without_retry_after = failed = 0
    probes: list[float] = []
    over = asyncio.Event()

    async def pour(connection: Connection) -> None:
        nonlocal without_retry_after
        for seed in seeds:
            answer = await connection.post(b'{"steps": 20, "seed": %d}' % seed, f"{seed}" if with_keys else None)
            statuses[answer.status] += 1
            without_retry_after += answer.status == 429 and not answer.headers.get("retry-after", "").isdecimal()

    async def probe(connection: Connection) -> None:
        nonlocal failed
        # To the answer, even if the flood is over by then: the probes that wait longest are not to be left out.
        for path in itertools.cycle(("/health/live", "/jobs?limit=1", "/static/style.css")):
            began = time.perf_counter()
            answer: Answer = await connection.get(path)
            probes.append(time.perf_counter() - began)
            failed += answer.status != 200
            await asyncio.sleep(_PROBE_SECONDS)
            if over.is_set():
                return

    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(Connection(port)) for _ in range(_CONNECTIONS + 1)]
        prober = asyncio.create_task(probe(connections.pop()))
        began = time.perf_counter()
        await asyncio.gather(*map(pour, connections))
        lasted = time.perf_counter() - began
        over.set()
        await prober
    return Flood(statuses, without_retry_after, lasted, probes, failed)
