"""Answers that are pictures: whole files with a strong ETag, or 304."""

from __future__ import annotations

import hashlib
from typing import Final

from fastapi import Request, Response

from app.negotiation import none_match
from app.settings import Settings

FOR_EVER: Final = "max-age=31536000, immutable"
"""For exact addresses, which name the bundle: what is there never changes."""

FOR_A_DAY: Final = "max-age=86400"
"""For flowers: the same bytes as long as the same bundle is served."""


def kept_by(settings: Settings, lifetime: str) -> str:
    """The Cache-Control of a picture: everybody's to keep, unless it needs a key.

    What is `public` a cache on the way hands to anybody, although it was asked for with a key (RFC 9111, section 3.5).
    """
    return f"{'public' if settings.images_are_public else 'private'}, {lifetime}"


def picture_response(
    request: Request, picture: bytes, cache_control: str, headers: dict[str, str] | None = None
) -> Response:
    """200 with the picture, a PNG or a WebP, or 304 if the client has it.

    The ETag is the SHA-256 of the bytes, as in a Job's `sha256`.
    """
    etag = f'"{hashlib.sha256(picture).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": cache_control} | (headers or {})
    if none_match(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    media_type = "image/webp" if picture.startswith(b"RIFF") else "image/png"
    return Response(picture, media_type=media_type, headers=headers)
