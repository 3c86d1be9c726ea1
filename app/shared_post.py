"""Sends what several tasks want to write in one transaction: whoever comes while one is on its way joins the next."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis.asyncio

    AsyncRedis = redis.asyncio.Redis
    Write = Callable[[redis.asyncio.client.Pipeline], None]

_MOST_AT_ONCE: Final = 64


class SharedPost:
    """One transaction at a time. Of a crowd each waits for two round trips at most, and all pay for one.

    All who share a transaction share its fate: it is written whole or not at all.
    """

    def __init__(self, connection: AsyncRedis) -> None:
        self._redis = connection
        self._waiting: list[tuple[Write, asyncio.Future[None]]] = []
        self._postman: asyncio.Task[None] | None = None

    async def send(self, write: Write) -> None:
        """Has `write` add to a transaction, and returns once that has been written.

        A task that is canceled meanwhile does not take back what it wanted to write.

        Raises:
            redis.RedisError: it was not written, or nobody knows whether it was.
        """
        written = asyncio.get_running_loop().create_future()
        # Each writes in its own context, with its request's id, whoever's task delivers it.
        context = contextvars.copy_context()
        self._waiting.append((lambda pipeline: context.run(write, pipeline), written))
        if self._postman is None:
            self._postman = asyncio.create_task(self._deliver())
        await asyncio.shield(written)

    async def _deliver(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                try:
                    async with self._redis.pipeline(transaction=True) as pipeline:
                        for write, _ in batch:
                            write(pipeline)
                        await pipeline.execute()
                except redis.RedisError as error:  # nor would those get through who have come meanwhile
                    behind, self._waiting = self._waiting, []
                    _settle(batch + behind, error)
                except Exception as error:  # a fault of one of them
                    _settle(batch, error)
                else:
                    _settle(batch, None)
        finally:
            self._postman = None


def _settle(batch: list[tuple[Write, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, written in batch:
        if error is not None:
            written.set_exception(error)
            written.exception()  # who waited for it may be gone, and nobody else would ask
        else:
            written.set_result(None)
