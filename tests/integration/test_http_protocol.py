"""Connections that hold a front end up: uvicorn itself, with our protocol, in front of a small application."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app import http_protocol
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
async def serving(app: Endless) -> AsyncIterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, http=GuardedProtocol, log_config=None, lifespan="off"))
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
