"""POSTs at a fixed rate, whether or not the ones before have been answered, as it is with many clients.

A time is counted from when a request was due, so that a front end that holds one up is charged for all that it held up
(no "coordinated omission").
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time

from benchmarks.api_connection import Connection

_CONNECTIONS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Posts:
    """Seconds of each request: from when it was due, and from when it was sent."""

    from_due: list[float]
    from_sent: list[float]
    lasted: float


def post_steadily(port: int, rate: float, seconds: float, first_seed: int) -> Posts:
    """Sends requests for one image each to a port of the loopback address, `rate` a second.

    Raises:
        RuntimeError: one was not accepted.
    """
    return asyncio.run(_post(port, rate, round(rate * seconds), first_seed))


async def _post(port: int, rate: float, count: int, first_seed: int) -> Posts:
    from_due, from_sent = [], []
    async with contextlib.AsyncExitStack() as stack:
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(_CONNECTIONS):
            free.put_nowait(await stack.enter_async_context(Connection(port)))

        async def ask(seed: int, due: float) -> None:
            connection = await free.get()
            sent = time.perf_counter()
            answer = await connection.post(b'{"steps": 20, "seed": %d}' % seed)
            ended = time.perf_counter()
            free.put_nowait(connection)
            if answer.status != 202:
                raise RuntimeError(f"not accepted: {answer.status} {answer.body[:200]!r}")
            from_due.append(ended - due)
            from_sent.append(ended - sent)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                due = began + number / rate
                if (left := due - time.perf_counter()) > 0:
                    await asyncio.sleep(left)
                group.create_task(ask(first_seed + number, due))
        return Posts(from_due, from_sent, time.perf_counter() - began)
