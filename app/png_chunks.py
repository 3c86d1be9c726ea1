"""The chunks of a PNG file, with the standard library alone: the front end has no Pillow."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def png_chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of each chunk, in their order (PNG specification, 5.3); ends where the file is cut off.

    Raises:
        ValueError: it is no PNG file, or the checksum of a chunk is wrong.
    """
    if not png.startswith(_SIGNATURE):
        raise ValueError("not a PNG file")
    place = len(_SIGNATURE)
    while place + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, place)
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        checksum = png[place + 8 + length : place + 12 + length]
        if checksum != struct.pack(">I", zlib.crc32(kind + data)):
            raise ValueError("the PNG file is damaged: a checksum is wrong")
        yield kind, data
        place += 12 + length
