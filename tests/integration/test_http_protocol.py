"""Connections that hold a front end up: uvicorn itself, with our protocol, in front of a small application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app import http_protocol
from app.event_hub import EventHub
from app.event_reader import EventReader
from app.events import EventStream
from app.http_protocol import GuardedProtocol

CHUNK = bytes(2**20)


class Endless:
    """Answers with more than any connection holds, and knows when that came to an end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def write() -> None:
            while True:
                await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
                await asyncio.sleep(0)  # what is sent to nobody does not wait for anything

        writing = asyncio.create_task(write())
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            writing.cancel()
            self.ended.set()
            await asyncio.gather(writing, return_exceptions=True)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, protocol: type[GuardedProtocol] = GuardedProtocol) -> AsyncIterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=protocol, log_config=None, lifespan="off"))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        await task


def test_who_does_not_read_his_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 0.2)

    async def scenario() -> None:
        app = Endless()
        async with serving(app) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await asyncio.wait_for(app.ended.wait(), 30)
            writer.close()

    asyncio.run(scenario())


class Hub:
    """Knows when its reader has left."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    def leave(self, job_id: str, reader: EventReader) -> None:
        self.left.set()


def test_a_reader_of_events_that_takes_nothing_is_let_go_without_a_word_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 0.2)

    async def scenario() -> None:
        events, hub = EventReader(), Hub()
        async with serving(EventStream(cast("EventHub", hub), "a-job", events)) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            for seed in range(16):
                events.give_preview(seed, CHUNK)
            await asyncio.wait_for(hub.left.wait(), 30)
            writer.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert caplog.messages == []


def test_who_reads_slowly_but_steadily_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "READ_SECONDS", 5.0)

    async def scenario() -> None:
        app = Endless()
        async with serving(app) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(40):
                assert await reader.read(2**20)
            assert not app.ended.is_set()
            writer.close()
            await asyncio.wait_for(app.ended.wait(), 30)

    asyncio.run(scenario())


def test_who_takes_a_little_of_a_large_answer_at_a_time_is_not() -> None:
    connections: list[GuardedProtocol] = []

    class Known(GuardedProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            connections.append(self)
            super().connection_made(transport)

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(2**25)})

    async def scenario() -> None:
        async with serving(large, Known) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readline()
            [connection] = connections
            transport = connection.transport
            for _ in range(4):
                waiting = transport.get_write_buffer_size()
                while transport.get_write_buffer_size() >= waiting:
                    assert await reader.read(2**16)
                assert waiting > 2**24  # it was one piece, of which hardly anything has been taken
                connection.see_whether_it_reads()  # as after each READ_SECONDS
                assert not transport.is_closing()
            connection.see_whether_it_reads()
            assert transport.is_closing()
            writer.close()

    asyncio.run(scenario())


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A request on a connection that stays open, and its answer."""
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await reader.readuntil(b"\r\n\r\nhi")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def let_the_silent_go(address: tuple[str, int]) -> None:
    """Returns once a connection that says nothing has been closed: HEAD_SECONDS from now."""
    reader, writer = await asyncio.open_connection(*address)
    assert await asyncio.wait_for(reader.read(), 30) == b""
    writer.close()


def test_between_two_requests_a_connection_may_wait_for_longer_than_for_a_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that whoever keeps connections, as proxies do, is the first to let one go, and no request meets its end."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 1.0)

    async def scenario() -> None:
        async with serving(greet) as address:
            reader, writer = await asyncio.open_connection(*address)
            await ask(reader, writer)
            await let_the_silent_go(address)
            await ask(reader, writer)
            # A head that has begun is no longer waited for than any other.
            writer.write(b"GET / HTTP/1.1\r\nHost")
            assert (await asyncio.wait_for(reader.read(), 30)).startswith(b"HTTP/1.1 408 ")
            writer.close()

    asyncio.run(scenario())


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "IDLE_SECONDS", 0.2)

    async def scenario() -> None:
        async with serving(greet) as address:
            reader, writer = await asyncio.open_connection(*address)
            await ask(reader, writer)
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()

    asyncio.run(scenario())


def test_in_a_crowd_idle_connections_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(http_protocol, "file_limit", lambda: 2)

    async def scenario() -> None:
        async with serving(greet) as address:
            reader, writer = await asyncio.open_connection(*address)
            await ask(reader, writer)
            second, second_writer = await asyncio.open_connection(*address)
            await ask(second, second_writer)  # two of the two that there may be
            assert await asyncio.wait_for(second.read(), 30) == b""
            await ask(reader, writer)
            second_writer.close()
            writer.close()

    asyncio.run(scenario())


def test_the_rest_of_a_request_that_was_answered_is_waited_for_like_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 1.0)

    async def scenario() -> None:
        async with serving(greet) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
            assert (await asyncio.wait_for(reader.read(), 30)).endswith(b"\r\n\r\nhi")
            writer.close()
            # In time, it is a request like any other.
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
            await reader.readuntil(b"\r\n\r\nhi")
            writer.write(b"67890")
            await let_the_silent_go(address)
            await ask(reader, writer)
            writer.close()

    asyncio.run(scenario())
