"""Many readers of events at one front end: does each see every status of its job?"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
from collections.abc import Awaitable, Callable

from benchmarks.api_connection import Connection

WHOLE = ("queued", "running", "succeeded", "done")
"""What a reader that misses nothing sees of a job whose worker does not die."""


@dataclasses.dataclass(frozen=True, slots=True)
class Readings:
    """What the readers saw: sequences of statuses, and how many saw each; and all bytes that came."""

    sequences: collections.Counter[tuple[str, ...]]
    bytes_read: int

    @property
    def whole(self) -> int:
        """Readers that missed nothing."""
        return self.sequences[WHOLE]


async def read_events(
    port: int, readers: int, jobs: int, first_seed: int, begin: Callable[[], Awaitable[None]]
) -> Readings:
    """Posts jobs, has all of them watched, and calls `begin` (which starts a worker) once everybody watches."""
    sequences: collections.Counter[tuple[str, ...]] = collections.Counter()
    bytes_read = 0
    async with contextlib.AsyncExitStack() as stack:
        poster = await stack.enter_async_context(Connection(port))
        ids = []
        for number in range(jobs):
            answer = await poster.post(b'{"steps": 20, "seed": %d}' % (first_seed + number))
            ids.append(json.loads(answer.body)["id"])
        watching = asyncio.Event()
        waiting = readers

        async def watch(job_id: str, connection: Connection) -> None:
            nonlocal bytes_read, waiting
            stream = await connection.watch(job_id)
            seen: list[str] = []
            event = ""
            async for line in stream:
                bytes_read += len(line)
                if line.startswith(b"event: "):
                    event = line[7:-1].decode()
                elif line.startswith(b"data: ") and event == "status":
                    seen.append(json.loads(line[6:])["status"])
                    if len(seen) == 1:
                        waiting -= 1
                        if not waiting:
                            watching.set()
                elif line.startswith(b"data: ") and event == "done":
                    seen.append("done")
            sequences[tuple(seen)] += 1

        async with asyncio.TaskGroup() as group:
            for number in range(readers):
                connection = await stack.enter_async_context(Connection(port))
                group.create_task(watch(ids[number % jobs], connection))
            await watching.wait()
            await begin()
    return Readings(sequences, bytes_read)
