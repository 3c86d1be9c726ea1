"""Reading a request's body: JSON only, not too large, not too slow, not compressed."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.errors import ApiError, ProblemCode
from app.strict_json import parse_json

MAX_BODY_BYTES: Final = 64 * 1024
BODY_SECONDS: Final = 5.0
"""In which the whole body must have come."""

_CLOSE: Final = {"Connection": "close"}
"""Sent with what is refused before the body was read to its end: the connection cannot be used again."""


async def read_json(request: Request) -> Any:
    """The value that the request's body holds.

    Raises:
        ApiError: `unsupported-media-type`, `body-too-large`, `request-timeout`, `invalid-json`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        # Also what keeps the pages of other sites from posting here through a visitor's browser: without CORS they
        # can send forms and plain text only.
        detail = "Send the request as JSON, with the header Content-Type: application/json."
        raise ApiError(ProblemCode.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Post": "application/json"} | _CLOSE)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "Send the body without Content-Encoding.", headers=_CLOSE)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return parse_json(await _read(request))
    except TimeoutError:
        detail = f"The body did not come within {BODY_SECONDS:.0f} seconds."
        raise ApiError(ProblemCode.REQUEST_TIMEOUT, detail, headers=_CLOSE) from None
    except ClientDisconnect:
        raise ApiError(ProblemCode.BAD_REQUEST, "The connection ended before the body did.") from None


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> ApiError:
    detail = f"The body may have {MAX_BODY_BYTES} bytes; a request for flowers has less than a hundred."
    return ApiError(ProblemCode.BODY_TOO_LARGE, detail, headers=_CLOSE)
