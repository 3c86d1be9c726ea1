"""The count of answers, as ASGI has them."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.access import Access
from app.metrics import FrontEndMetrics

HEAD = {"type": "http.response.start", "status": 404, "headers": []}
BODY = {"type": "http.response.body", "body": b""}


def counted(metrics: FrontEndMetrics) -> dict[str, float]:
    """How often which status was counted."""
    samples = [one for family in metrics.shown.collect() for one in family.samples]
    return {one.labels["status"]: one.value for one in samples if one.name == "bouquet_http_requests_total"}


def request(metrics: FrontEndMetrics, messages: Sequence[Message], send: Send, error: Exception | None = None) -> None:
    """One request to an app that sends these messages, and then fails with `error`."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if error is not None:
            raise error

    async def nothing() -> Message:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/jobs/none", "state": {}, "route": None}
    asyncio.run(Access(answer, metrics)(scope, nothing, send))


def test_who_has_an_answer_finds_it_counted() -> None:
    """Whatever becomes of the process afterwards."""
    metrics = FrontEndMetrics()
    seen: list[dict[str, float]] = []

    async def send(message: Message) -> None:
        seen.append(counted(metrics))

    request(metrics, [HEAD, BODY], send)
    assert seen == [{"404": 1}] * 2
    assert counted(metrics) == {"404": 1}


@pytest.mark.parametrize(
    ("messages", "status"), [([], "499"), ([HEAD], "404")], ids=["before its answer", "in its answer"]
)
def test_a_request_that_breaks_off_counts_once(messages: Sequence[Message], status: str) -> None:
    metrics = FrontEndMetrics()

    async def send(message: Message) -> None:
        pass

    with pytest.raises(ConnectionError):
        request(metrics, messages, send, ConnectionError())
    assert counted(metrics) == {status: 1}
