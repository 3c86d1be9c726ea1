"""The answer to `GET /jobs/<id>/events`: a stream that ends with the job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app import sse
from app.event_hub import EventHub
from app.event_reader import EventReader
from app.head_requests import is_head
from app.job_ids import is_job_id
from app.job_moments import read_event_id

HEARTBEAT_SECONDS: Final = 15.0

_RETRY_MILLISECONDS: Final = 1000

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would gather events otherwise
}


async def open_stream(hub: EventHub, job_id: str, last_event_id: str | None) -> Response | None:
    """The stream for a reader that has seen what `last_event_id` says; None if there is no such job.

    204, which tells a browser not to come again, for one that has seen the end.
    """
    if not is_job_id(job_id):
        return None
    seen = read_event_id(last_event_id)
    reader = hub.join(job_id, seen.moment if seen is not None else None)
    try:
        sight = await reader.meet()
    except BaseException:
        hub.leave(job_id, reader)
        raise
    has_seen_all = sight is not None and seen is not None and seen.done and seen.moment == sight.moment
    if has_seen_all or (sight is None and not hub.is_closing):
        hub.leave(job_id, reader)
        return Response(status_code=204, headers=_HEADERS) if has_seen_all else None
    return EventStream(hub, job_id, reader)


class EventStream(Response):
    """Sends a reader's events until it is ended, its connection is gone, or the server stops.

    A connection that takes nothing is closed by app/http_protocol.py; its reader may come back and go on. A limit of
    its own would end the stream with the connection still there, which uvicorn calls an error.
    """

    media_type = sse.MEDIA_TYPE

    def __init__(self, hub: EventHub, job_id: str, reader: EventReader) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._hub = hub
        self._job_id = job_id
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if is_head(scope):
                await send({"type": "http.response.body", "body": b""})
            else:
                await _first_of(self._write(send), _until_gone(receive))
        finally:
            self._hub.leave(self._job_id, self._reader)

    async def _write(self, send: Send) -> None:
        chunk, is_last = sse.retry(_RETRY_MILLISECONDS), False
        while True:
            message: Message = {"type": "http.response.body", "body": chunk, "more_body": not is_last}
            await send(message)
            if is_last:
                return
            chunk = await self._reader.take(HEARTBEAT_SECONDS)
            is_last = self._reader.is_ended and self._reader.is_empty
            chunk = chunk or (b"" if is_last else sse.HEARTBEAT)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _first_of(*actions: Awaitable[None]) -> None:
    """Returns when one of them has; the others are cancelled. What went wrong in one is raised."""
    tasks = [asyncio.ensure_future(action) for action in actions]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
