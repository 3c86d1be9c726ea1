"""The texts in a PNG file, with the standard library alone: the front end has no Pillow."""

from __future__ import annotations

import struct
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def png_text(png: bytes, keyword: str) -> str | None:
    """The text of a keyword that stands before the pixels; None if there is none, or this is no PNG file.

    Reads what Bouquet writes: tEXt, and iTXt that is not compressed (PNG specification, 11.3.3).
    """
    place, start = len(_SIGNATURE), keyword.encode("latin-1") + b"\x00"
    while png.startswith(_SIGNATURE) and place + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        if kind == b"IDAT":
            break
        data = png[place + 8 : place + 8 + length]
        if kind == b"tEXt" and data.startswith(start):
            return data[len(start) :].decode("latin-1")
        if kind == b"iTXt" and data.startswith(start + b"\x00\x00"):
            return data[len(start) + 2 :].split(b"\x00", 2)[-1].decode("utf-8", "replace")
        place += length + 12
    return None
