"""The texts in a PNG file."""

from __future__ import annotations

from app.png_chunks import png_chunks


def png_text(png: bytes, keyword: str) -> str | None:
    """The text of a keyword that stands before the pixels; None if there is none, or this is no PNG file.

    Reads what Bouquet writes: tEXt, and iTXt that is not compressed (PNG specification, 11.3.3).
    """
    start = keyword.encode("latin-1") + b"\x00"
    try:
        for kind, data in png_chunks(png):
            if kind == b"IDAT":
                break
            if kind == b"tEXt" and data.startswith(start):
                return data[len(start) :].decode("latin-1")
            if kind == b"iTXt" and data.startswith(start + b"\x00\x00"):
                return data[len(start) + 2 :].split(b"\x00", 2)[-1].decode("utf-8", "replace")
    except ValueError:
        pass
    return None
