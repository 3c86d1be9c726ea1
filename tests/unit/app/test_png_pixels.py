"""Pixels out of PNG files, against Pillow."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.png_pixels import read_pixels


def picture(height: int, width: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    smooth = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)[..., None] + np.array([0, 50, 100])
    return np.where(np.arange(width)[None, :, None] % 2, smooth, noise).astype(np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: bytes, width: int, height: int, tail: bytes = b"\x08\x02\0\0\0") -> bytes:
    header = struct.pack(">II", width, height) + tail
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (5, 7), (64, 64)])
def test_what_pillow_writes_is_read(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    assert read_pixels(file.getvalue()) == (size[1], size[0], pixels.tobytes())


@given(st.lists(st.integers(0, 4), min_size=6, max_size=6), st.integers(0, 2**32))
def test_every_filter_as_pillow_reads_it(filters: list[int], seed: int) -> None:
    """The bytes of the rows mean nothing in particular: both have to make the same of them."""
    rows = np.random.default_rng(seed).integers(0, 256, (6, 15), dtype=np.uint8)
    data = png(b"".join(bytes([kind]) + row.tobytes() for kind, row in zip(filters, rows, strict=True)), 5, 6)
    with Image.open(io.BytesIO(data)) as image:
        assert read_pixels(data) == (5, 6, image.convert("RGB").tobytes())


WHOLE = png(b"\0" + bytes(6) + b"\1" + bytes(6), 2, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        WHOLE[:-1],
        WHOLE[:40],
        WHOLE.replace(b"IDAT", b"iDAT"),
        png(b"\0" + bytes(6), 2, 2),
        png(b"\0" * 100, 2, 2),
        png(b"\5" + bytes(6) + b"\0" + bytes(6), 2, 2),
        png(b"\0" * 14, 2, 2, b"\x10\x02\0\0\0"),
        png(b"\0" * 14, 2, 2, b"\x08\x06\0\0\0"),
        png(b"", 0, 2),
        png(b"", 2**31, 2**31),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    assert read_pixels(WHOLE)[:2] == (2, 2)
    with pytest.raises(ValueError, match="PNG"):
        read_pixels(data)


@given(st.binary(max_size=200), st.integers(0, len(WHOLE)))
def test_whatever_comes_nothing_else_is_raised(data: bytes, place: int) -> None:
    for damaged in (data, WHOLE[:place] + data + WHOLE[place:], WHOLE[:place] + data):
        try:
            read_pixels(damaged)
        except ValueError:
            continue
