"""Watching a job through breaks, on a clock of the test's own: when a client comes again, and when it gives up."""

from __future__ import annotations

import asyncio
import functools
import types
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from app import sse
from app.client import (
    AsyncClient,
    Client,
    ClientError,
    Done,
    JobEvent,
    NotBouquetError,
    Retries,
    Status,
    UnavailableError,
    UnreachableError,
)
from app.schemas import Job
from tests.unit.app.test_client_core import JOB, Clock, problem

job = Job.model_validate(JOB)
RUNNING = sse.event("status", job.model_dump_json(), "running-1")
DONE = sse.event("done", job.model_dump_json(), "succeeded-1-done")


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The body of an answer: the bytes, then silence for some seconds, then the error, or the end."""

    def __init__(
        self, clock: Clock, content: bytes, silence: float = 0.0, error: httpx.HTTPError | None = None
    ) -> None:
        self._clock, self._content, self._silence, self._error = clock, content, silence, error

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        self._clock.sleep(self._silence)
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class Garden:
    """The front ends at one address: what becomes of each connection, in turn; of the last one for ever."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.script: list[Callable[[], httpx.Response]] = []
        self.last_ids: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert len(self.last_ids) < 1000, "it goes on for ever"
        self.last_ids.append(request.headers.get("Last-Event-ID"))
        return (self.script.pop(0) if len(self.script) > 1 else self.script[0])()

    def streams(self, content: bytes, silence: float = 0.0, error: httpx.HTTPError | None = None) -> None:
        headers = {"Content-Type": sse.MEDIA_TYPE}
        stream = Stream(self.clock, content, silence, error)
        self.script.append(lambda: httpx.Response(200, headers=headers, stream=stream))

    def answers(self, status: int, content: bytes = b"<html>Bad Gateway</html>") -> None:
        self.script.append(lambda: httpx.Response(status, content=content))

    def fails(self, error: httpx.HTTPError, after: float = 0.0, times: int = 1) -> None:
        def fail() -> httpx.Response:
            self.clock.sleep(after)
            raise error

        self.script += [fail] * times


@pytest.fixture
def garden(monkeypatch: pytest.MonkeyPatch) -> Garden:
    clock = Clock()
    garden = Garden(clock)

    async def sleep(seconds: float) -> None:
        clock.sleep(seconds)

    monkeypatch.setattr("app.client.sync.time", clock)
    monkeypatch.setattr("app.client.watching.time", clock)
    monkeypatch.setattr("app.client.aio.asyncio", types.SimpleNamespace(sleep=sleep))
    for kind in ("Client", "AsyncClient"):
        within = functools.partial(getattr(httpx, kind), transport=httpx.MockTransport(garden))
        monkeypatch.setattr(httpx, kind, within)
    return garden


Watch = Callable[..., list[JobEvent]]


@pytest.fixture(params=["blocking", "for coroutines"])
def watch(request: pytest.FixtureRequest, garden: Garden) -> Watch:
    """All events that a client of that kind tells, if each is held for some seconds; `restart` is its patience."""

    def blocking(hold: float = 0.0, restart: float = 30.0) -> list[JobEvent]:
        events = []
        with Client("http://garden", retries=Retries(restart=restart)) as client:
            for event in client.events("1-5"):
                events.append(event)
                garden.clock.sleep(hold)
        return events

    async def in_a_loop(hold: float = 0.0, restart: float = 30.0) -> list[JobEvent]:
        events = []
        async with AsyncClient("http://garden", retries=Retries(restart=restart)) as client:
            async for event in client.events("1-5"):
                events.append(event)
                garden.clock.sleep(hold)
        return events

    if request.param == "blocking":
        return blocking
    return lambda **options: asyncio.run(in_a_loop(**options))


def test_a_host_that_vanished_is_left_for_another(garden: Garden, watch: Watch) -> None:
    """Without a reset, the break shows only as a silence of a minute, longer than an outage may be."""
    garden.streams(RUNNING, silence=60.0, error=httpx.ReadTimeout("timed out"))
    garden.streams(DONE)
    assert watch() == [Status(job), Done(job)]
    assert garden.last_ids == [None, "running-1"]


def test_a_first_connection_that_hangs_is_not_the_last(garden: Garden, watch: Watch) -> None:
    garden.fails(httpx.ConnectTimeout("timed out"), after=60.0)
    garden.streams(DONE)
    assert watch() == [Done(job)]


def test_a_stream_that_was_let_go_while_an_event_was_held_is_taken_up(garden: Garden, watch: Watch) -> None:
    garden.streams(RUNNING, error=httpx.RemoteProtocolError("peer closed connection"))
    garden.streams(RUNNING)
    garden.streams(DONE)
    assert watch(hold=40.0) == [Status(job), Status(job), Done(job)]


def test_each_line_ends_an_outage(garden: Garden, watch: Watch) -> None:
    for _ in range(3):
        garden.fails(httpx.ConnectError("refused"), times=20)
        garden.streams(sse.HEARTBEAT)
    garden.streams(DONE)
    began = garden.clock.now
    assert watch() == [Done(job)]
    assert garden.clock.now - began == pytest.approx(63)


def test_a_server_that_stays_away_is_given_up(garden: Garden, watch: Watch) -> None:
    garden.streams(RUNNING, silence=60.0, error=httpx.ReadTimeout("timed out"))
    garden.fails(httpx.ConnectError("refused"))
    began = garden.clock.now
    with pytest.raises(UnreachableError, match="refused"):
        watch()
    assert garden.clock.now - began == pytest.approx(60 + 30)


@pytest.mark.parametrize("restart", [10.0, 30.0])
def test_streams_that_end_before_their_first_line_are_no_sign_of_life(
    garden: Garden, watch: Watch, restart: float
) -> None:
    garden.streams(b"")
    began = garden.clock.now
    with pytest.raises(UnreachableError, match="the stream ended"):
        watch(restart=restart)
    assert garden.clock.now - began == pytest.approx(restart)


def test_who_has_no_patience_comes_once(garden: Garden, watch: Watch) -> None:
    garden.streams(sse.retry(0), silence=60.0, error=httpx.ReadTimeout("timed out"))
    with pytest.raises(UnreachableError):
        watch(restart=0.0)
    assert len(garden.last_ids) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_a_proxy_says_of_a_server_that_is_away_is_waited_out(garden: Garden, watch: Watch, status: int) -> None:
    garden.streams(RUNNING)
    garden.answers(status)
    garden.answers(status)
    garden.streams(DONE)
    assert watch() == [Status(job), Done(job)]
    garden.script.clear()
    garden.answers(status)
    began = garden.clock.now
    with pytest.raises(UnreachableError, match=f"it answers {status}"):
        watch()
    assert garden.clock.now - began == pytest.approx(30)


def test_what_a_server_says_that_lacks_something_is_waited_out_and_told(garden: Garden, watch: Watch) -> None:
    garden.streams(RUNNING)
    garden.answers(503, problem(503, "queue-unavailable").content)
    began = garden.clock.now
    with pytest.raises(UnavailableError) as told:
        watch()
    assert (told.value.code, told.value.status) == ("queue-unavailable", 503)
    assert garden.clock.now - began == pytest.approx(30, abs=1)


def test_what_no_waiting_mends_is_told_at_once(garden: Garden, watch: Watch) -> None:
    garden.answers(500)
    with pytest.raises(NotBouquetError) as strange:
        watch()
    assert strange.value.status == 500
    for status, code in ((404, "job-not-found"), (502, "internal-error")):
        garden.script.clear()
        garden.answers(status, problem(status, code).content)
        with pytest.raises(ClientError) as told:
            watch()
        assert (told.value.code, told.value.status) == (code, status)
    assert len(garden.last_ids) == 3
