"""The stream of one reader: signs of life, readers that take nothing, readers that go."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app import events, sse
from app.event_hub import EventHub
from app.event_reader import EventReader
from app.events import EventStream

SCOPE = {"type": "http", "method": "GET", "path": "/"}


class Hub:
    """Notes who has left."""

    def __init__(self) -> None:
        self.left: list[tuple[str, EventReader]] = []

    def leave(self, job_id: str, reader: EventReader) -> None:
        self.left.append((job_id, reader))


class Connection:
    """A client: takes what is sent until `takes` chunks have come, and then takes nothing more."""

    def __init__(self, takes: int = 10**9) -> None:
        self.takes = takes
        self.chunks: list[bytes] = []
        self.is_over = False
        self.gone = asyncio.Event()
        self.news = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] != "http.response.body":
            return
        if len(self.chunks) == self.takes:
            await asyncio.Event().wait()
        self.chunks.append(message["body"])
        self.is_over = not message.get("more_body", False)
        self.news.set()

    async def has(self, count: int) -> None:
        while len(self.chunks) < count:
            self.news.clear()
            await self.news.wait()


def serve(connection: Connection, reader: EventReader, hub: Hub) -> asyncio.Task[None]:
    stream = EventStream(cast("EventHub", hub), "a-job", reader)
    return asyncio.create_task(stream(SCOPE, connection.receive, connection.send))


def test_a_silent_stream_shows_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)

    async def scenario() -> None:
        connection, reader, hub = Connection(), EventReader(), Hub()
        task = serve(connection, reader, hub)
        await asyncio.wait_for(connection.has(4), 20)
        assert connection.chunks[0].startswith(b"retry: ")
        assert connection.chunks[1:4] == [sse.HEARTBEAT] * 3
        reader.give_progress(sse.event("progress", "{}"))
        reader.end()
        await asyncio.wait_for(task, 20)
        assert connection.is_over
        assert sse.event("progress", "{}") in connection.chunks
        assert hub.left == [("a-job", reader)]

    asyncio.run(scenario())


@pytest.mark.parametrize("takes", [1, 10**9])
def test_who_goes_is_forgotten_at_once_whether_he_read_or_not(monkeypatch: pytest.MonkeyPatch, takes: int) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)

    async def scenario() -> None:
        connection, reader, hub = Connection(takes), EventReader(), Hub()
        task = serve(connection, reader, hub)
        await asyncio.wait_for(connection.has(1), 20)
        connection.gone.set()
        await asyncio.wait_for(task, 20)
        assert hub.left == [("a-job", reader)]

    asyncio.run(scenario())


def test_signs_of_life_come_often_enough_for_proxies() -> None:
    assert events.HEARTBEAT_SECONDS <= 30  # many close a connection that is silent for a minute, some sooner
