"""What the image store already has: since an image never changes, a request that is all there is done at once."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final

from app.animation import webp_size
from app.png_text import png_text
from worker.protocol import KIND_KEYWORD, GenerationRequest, GenerationResult, ImageRecord

if TYPE_CHECKING:
    from worker.store import ImageStore

_PNG_START: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def stored_result(store: ImageStore, revision: str, request: GenerationRequest) -> GenerationResult | None:
    """The result of `request`, if all its images by bundle `revision` are in the store; else None. Reads files."""
    keys = request.image_keys
    names = [key.name(revision) for key in keys]
    if not store.exists(names[0]) or not all(map(store.exists, names[1:])):
        return None
    images = []
    for key, name in zip(keys, names, strict=True):
        picture = store.get(name)
        size = picture_size(picture) if picture is not None else None
        if picture is None or size is None:
            return None  # swept away in this moment, or damaged: the worker makes it again
        images.append(
            ImageRecord(
                seed=key.seed,
                name=name,
                width=size[0],
                height=size[1],
                bytes=len(picture),
                sha256=hashlib.sha256(picture).hexdigest(),
                kind=png_text(picture, KIND_KEYWORD) or "",
            )
        )
    return GenerationResult(revision, tuple(images), run_seconds=0.0)


def picture_size(picture: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a file from the store; None if it is damaged."""
    return png_size(picture) or webp_size(picture)


def png_size(picture: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, out of a PNG's header (PNG specification, 11.2.1); None if it is no PNG."""
    if len(picture) < 24 or not picture.startswith(_PNG_START):
        return None
    width, height = struct.unpack(">II", picture[16:24])
    return (width, height) if width and height else None
