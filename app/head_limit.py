"""How much a request may say before its body."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import ApiError, ProblemCode, problem_response

MAX_HEAD_BYTES: Final = 16 * 1024
"""Request line and headers together. Browsers send one or two thousand bytes."""


class HeadLimit:
    """ASGI middleware: refuses a larger head that came in one piece; app.http_protocol refuses it while it comes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _size(scope) > MAX_HEAD_BYTES:
            await problem_response(head_too_large(), scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def head_too_large() -> ApiError:
    """A 431; the connection is not used again."""
    detail = f"The request's head is larger than {MAX_HEAD_BYTES} bytes. Send a shorter address, or fewer headers."
    return ApiError(ProblemCode.HEAD_TOO_LARGE, detail, headers={"Connection": "close"})


def _size(scope: Scope) -> int:
    line = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return line + sum(len(name) + len(value) + len(b": \r\n") for name, value in scope["headers"])
