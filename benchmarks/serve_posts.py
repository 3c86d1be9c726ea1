"""How many requests the front end accepts in a second, asked by clients that do next to nothing themselves.

They share the machine's cores with the front end and the queue. So they are bare sockets in one thread, with one
request at a time on each, kept open; of the answer they read no more than they must.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterator

from benchmarks.serve_figures import quantile


@dataclasses.dataclass(frozen=True, slots=True)
class Posts:
    """What was accepted in a second, and how long the answers took, in seconds."""

    posts: int
    per_second: float
    p50: float
    p99: float


def measure_posts(port: int, posts: int, clients: int, first_seed: int) -> Posts:
    """Sends so many requests to the front end on a port of the loopback address.

    Raises:
        RuntimeError: one was not accepted.
    """
    seeds = iter(range(first_seed, first_seed + posts))
    began = time.perf_counter()
    seconds = asyncio.run(_post(port, seeds, clients))
    return Posts(posts, posts / (time.perf_counter() - began), quantile(seconds, 0.5), quantile(seconds, 0.99))


async def _post(port: int, seeds: Iterator[int], clients: int) -> list[float]:
    answers = await asyncio.gather(*(_be_a_client(port, seeds) for _ in range(clients)))
    return [seconds for one in answers for seconds in one]


async def _be_a_client(port: int, seeds: Iterator[int]) -> list[float]:
    """Sends requests for as long as there are seeds that nobody else has taken; returns the seconds of each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    seconds = []
    for seed in seeds:
        body = b'{"steps": 20, "seed": %d, "count": 1}' % seed
        head = b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        began = time.perf_counter()
        writer.write(head % len(body) + b"\r\n" + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 202"):
            raise RuntimeError(f"not accepted: {answer[:200]!r}")
        await reader.readexactly(_length(answer))
        seconds.append(time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()
    return seconds


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise RuntimeError(f"an answer without a length: {head[:200]!r}")
