"""The pixels of a PNG file, with the standard library alone: the front end and its commands have no numpy.

Reads what Bouquet writes: 8-bit RGB, not interlaced, with any of the five filters (PNG specification, section 9.2).
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from app.png_chunks import png_chunks

_RGB8: Final = bytes((8, 2, 0, 0, 0))
_CHANNELS: Final = 3
_MAX_SIDE: Final = 4096


def read_pixels(png: bytes) -> tuple[int, int, bytes]:
    """Width, height, and the pixels: a byte each for red, green and blue, row after row.

    Raises:
        ValueError: it is no such PNG file.
    """
    width = height = 0
    compressed = bytearray()
    for kind, data in png_chunks(png):
        if kind == b"IHDR":
            width, height = struct.unpack(">II", data[:8])
            if data[8:] != _RGB8 or not 0 < width <= _MAX_SIDE or not 0 < height <= _MAX_SIDE:
                raise ValueError("not a PNG file of 8-bit RGB")
        elif kind == b"IDAT":
            compressed += data
        elif kind == b"IEND":
            break
    else:
        raise ValueError("the PNG file ends too early")
    stride = width * _CHANNELS
    size = height * (stride + 1)
    try:
        rows = zlib.decompressobj().decompress(compressed, size + 1)
    except zlib.error as error:
        raise ValueError(f"the PNG file is damaged: {error}") from None
    if len(rows) != size or not width:
        raise ValueError("the PNG file is damaged: it has not the pixels that it should")
    pixels = bytearray()
    above = bytes(stride)
    for start in range(0, size, stride + 1):
        above = _unfiltered(rows[start], rows[start + 1 : start + 1 + stride], above)
        pixels += above
    return width, height, bytes(pixels)


def _unfiltered(kind: int, row: bytes, above: bytes) -> bytes:
    if kind == 0:
        return row
    if kind == 2:
        return bytes((value + up) & 255 for value, up in zip(row, above, strict=True))
    out = bytearray(row)
    for index, value in enumerate(row):
        left = out[index - _CHANNELS] if index >= _CHANNELS else 0
        if kind == 1:
            predicted = left
        elif kind == 3:
            predicted = (left + above[index]) // 2
        elif kind == 4:
            predicted = _paeth(left, above[index], above[index - _CHANNELS] if index >= _CHANNELS else 0)
        else:
            raise ValueError(f"the PNG file is damaged: there is no filter {kind}")
        out[index] = (value + predicted) & 255
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    """The neighbour that is nearest to left + up - corner (PNG specification, section 9.4)."""
    estimate = left + up - corner
    by_left, by_up, by_corner = abs(estimate - left), abs(estimate - up), abs(estimate - corner)
    if by_left <= by_up and by_left <= by_corner:
        return left
    return up if by_up <= by_corner else corner
