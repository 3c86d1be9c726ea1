"""Answers that are pictures: whole files with a strong ETag, or 304."""

from __future__ import annotations

import hashlib
from typing import Final

from fastapi import Request, Response

from app.negotiation import none_match

FOR_EVER: Final = "public, max-age=31536000, immutable"
"""For exact addresses, which name the bundle: what is there never changes."""

FOR_A_DAY: Final = "public, max-age=86400"
"""For flowers: the same bytes as long as the same bundle is served."""


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
