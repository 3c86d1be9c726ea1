"""A name for each request: the client's own X-Request-ID or a new one, told back and written into errors and logs."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER: Final = "X-Request-ID"
current_request_id: Final[ContextVar[str | None]] = ContextVar("current_request_id", default=None)
"""The id of the request that is being answered, for log lines and for the jobs that it makes."""

_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)


class RequestIds:
    """ASGI middleware; leaves the id in the scope's state as `request_id`. An id of odd characters is replaced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ACCEPTED.fullmatch(given) else secrets.token_hex(16)
        scope.setdefault("state", {})["request_id"] = request_id
        current_request_id.set(request_id)  # of this request alone: each is answered in a task of its own

        async def name(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, name)
