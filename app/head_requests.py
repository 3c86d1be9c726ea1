"""HEAD for every address that takes GET: the same status and headers, no body (RFC 9110, section 9.3.2)."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_MARK: Final = "bouquet.head"


def is_head(scope: Scope) -> bool:
    """Whether the GET of this scope was a HEAD: for answers whose body would have no end."""
    return _MARK in scope


class HeadRequests:
    """ASGI middleware that hands a HEAD on as a GET and keeps back the body of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        inner = {**scope, "method": "GET", _MARK: True}

        def tell() -> None:
            """What the router found, for those outside who want to know."""
            scope.update({name: inner[name] for name in ("route", "path_params") if name in inner})

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.start":
                tell()
            elif message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self._app(inner, receive, without_body)
        finally:  # where there was no answer
            tell()
