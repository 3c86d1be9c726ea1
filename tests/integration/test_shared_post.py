"""What several tasks write at the same time goes out together, and each learns what became of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
import redis.asyncio

from app.shared_post import SharedPost
from tests.valkey_server import ValkeyServer

Run = Callable[[Callable[[SharedPost], Awaitable[None]]], None]


@pytest.fixture
def run(valkey: ValkeyServer) -> Run:
    """Runs a test with a post."""

    async def in_a_loop(test: Callable[[SharedPost], Awaitable[None]]) -> None:
        async with redis.asyncio.Redis.from_url(valkey.url) as connection:
            await test(SharedPost(connection))

    return lambda test: asyncio.run(in_a_loop(test))


def push(number: int) -> Callable[[Any], None]:
    return lambda pipeline: pipeline.rpush("letters", number)


def refuse(pipeline: Any) -> None:
    raise ValueError("not written by me")


def transactions(client: redis.Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_exec", {"calls": 0})["calls"])


def test_a_crowd_shares_transactions(run: Run, client: redis.Redis) -> None:
    async def crowd(post: SharedPost) -> None:
        await asyncio.gather(*(post.send(push(number)) for number in range(100)))
        assert client.llen("letters") == 100

    run(crowd)
    assert client.lrange("letters", 0, -1) == [b"%d" % number for number in range(100)]
    assert transactions(client) <= 3


def test_one_after_the_other_is_written_when_it_returns(run: Run, client: redis.Redis) -> None:
    async def one_by_one(post: SharedPost) -> None:
        for number in range(3):
            await post.send(push(number))
            assert client.llen("letters") == number + 1

    run(one_by_one)
    assert transactions(client) == 3


def test_all_who_share_a_transaction_are_told_of_its_end(run: Run, client: redis.Redis) -> None:
    async def together(post: SharedPost) -> None:
        ends = await asyncio.gather(post.send(push(1)), post.send(refuse), return_exceptions=True)
        assert [str(end) for end in ends] == ["not written by me"] * 2
        await post.send(push(2))

    run(together)
    assert client.lrange("letters", 0, -1) == [b"2"]


def test_a_queue_that_is_away_is_told_and_then_forgotten(run: Run, valkey: ValkeyServer, client: redis.Redis) -> None:
    async def away(post: SharedPost) -> None:
        await post.send(push(1))
        valkey.stop()
        with pytest.raises(redis.ConnectionError):
            await post.send(push(2))
        valkey.start()
        await post.send(push(3))

    run(away)
    assert client.lrange("letters", 0, -1) == [b"1", b"3"]


def test_nobody_waits_for_a_queue_that_has_just_failed_another(
    valkey: ValkeyServer,
) -> None:
    async def stopped() -> None:
        async with redis.asyncio.Redis.from_url(valkey.url, socket_timeout=0.5) as connection:
            post = SharedPost(connection)
            await post.send(push(1))
            valkey.send(signal.SIGSTOP)
            first = asyncio.create_task(post.send(push(2)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # it is on its way
            ends = await asyncio.gather(first, post.send(push(3)), return_exceptions=True)
            valkey.send(signal.SIGCONT)
            assert [type(end) for end in ends] == [redis.TimeoutError] * 2
            assert ends[0] is ends[1]

    asyncio.run(stopped())


def test_who_gives_up_waiting_disturbs_nobody(run: Run, client: redis.Redis) -> None:
    async def impatient(post: SharedPost) -> None:
        gone, stays = asyncio.create_task(post.send(push(1))), asyncio.create_task(post.send(push(2)))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        assert gone.cancelled() or await asyncio.gather(gone, return_exceptions=True)

    run(impatient)
    assert sorted(client.lrange("letters", 0, -1)) == [b"1", b"2"]
