"""Frames into an animation: the container of an animated WebP around images that are WebP files already (RFC 9649).

No pixel is looked at, so that a front end needs no library for images.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

FRAME_MILLISECONDS: Final = 90
END_MILLISECONDS: Final = 700
"""For which the first and the last frame are shown: they are the flowers, and deserve a look."""

_SIMPLE: Final = b"WEBPVP8L"
_HEADER_BYTES: Final = 12  # RIFF, size, WEBP
_ANIMATED: Final = 0x02
_DO_NOT_BLEND: Final = 0x02
_LOOPS: Final = 0  # for ever


def animate(frames: Sequence[bytes]) -> bytes:
    """One file that shows the frames in order, and begins again. Each is a lossless WebP of one image, all of one size.

    Raises:
        ValueError: a frame is no such file, or is of another size than the first.
    """
    sizes = {webp_size(frame) for frame in frames}
    if len(sizes) != 1 or None in sizes:
        raise ValueError("the frames are not lossless WebP images of one size")
    [(width, height)] = [size for size in sizes if size is not None]
    canvas = _int24(width - 1) + _int24(height - 1)
    chunks = [
        _chunk(b"VP8X", bytes([_ANIMATED, 0, 0, 0]) + canvas),
        _chunk(b"ANIM", struct.pack("<IH", 0xFFFFFFFF, _LOOPS)),
    ]
    for number, frame in enumerate(frames):
        is_end = number in (0, len(frames) - 1)
        duration = _int24(END_MILLISECONDS if is_end else FRAME_MILLISECONDS)
        head = _int24(0) + _int24(0) + canvas + duration + bytes([_DO_NOT_BLEND])
        chunks.append(_chunk(b"ANMF", head + frame[_HEADER_BYTES:]))
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_size(picture: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a lossless WebP of one image, out of its header; None if it is none."""
    if len(picture) < 25 or picture[:4] != b"RIFF" or picture[8:16] != _SIMPLE or picture[20] != 0x2F:
        return None
    if struct.unpack("<I", picture[4:8])[0] != len(picture) - 8:
        return None
    bits = struct.unpack("<I", picture[21:25])[0]
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _int24(value: int) -> bytes:
    return value.to_bytes(3, "little")
