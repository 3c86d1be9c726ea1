"""Who may come in, and what a browser may do with what we send."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ApiError, ProblemCode, problem_response
from app.negotiation import wants_page

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

RESPONSE_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}
RAW_RESPONSE_HEADERS: Final = [(name.lower().encode(), value.encode()) for name, value in RESPONSE_HEADERS.items()]
"""As ASGI has them, names in small letters."""


class SecurityHeaders:
    """ASGI middleware: every answer says what a browser must not do with it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def harden(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in RAW_RESPONSE_HEADERS if header[0] not in given),
                ]
            await send(message)

        await self._app(scope, receive, harden if scope["type"] == "http" else send)


class ApiKeys:
    """ASGI middleware: a key for everything but health, and images and flowers if these are public.

    The key comes as `Authorization: Bearer KEY`. For people in front of a browser, which cannot send that by itself,
    it may also be the password of `Authorization: Basic` with any name.
    """

    def __init__(self, app: ASGIApp, keys: Iterable[str], public_images: bool) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]
        self._public = ("/health/", "/images/", "/flowers/", "/morphs/") if public_images else ("/health/",)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._digests or scope["path"].startswith(self._public):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._is_known(_given_key(headers.get("authorization"))):
            await self._app(scope, receive, send)
            return
        # A browser asks for name and password only if it is offered Basic; programs need not see that.
        offers = 'Bearer realm="Bouquet"'
        if wants_page(headers.get("accept")):
            offers = 'Basic realm="Bouquet: any name, the key as password", charset="UTF-8"'
        detail = "Send one of the server's keys: Authorization: Bearer KEY."
        error = ApiError(ProblemCode.UNAUTHORIZED, detail, headers={"WWW-Authenticate": offers})
        await problem_response(error, scope)(scope, receive, send)

    def _is_known(self, key: bytes | None) -> bool:
        """In the same time for every key: digests are compared, all of them, in constant time."""
        given = hashlib.sha256(key or b"").digest()
        known = False
        for digest in self._digests:
            known |= hmac.compare_digest(digest, given)
        return known and key is not None


def _given_key(authorization: str | None) -> bytes | None:
    scheme, _, credentials = (authorization or "").partition(" ")
    credentials = credentials.strip()
    if scheme.lower() == "bearer":
        return credentials.encode("latin-1")
    if scheme.lower() == "basic":
        try:
            _, _, password = base64.b64decode(credentials, validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return None
        return password
    return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
