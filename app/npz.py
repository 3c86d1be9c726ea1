"""Images as one .npz file, as numpy.load reads it: `images` uint8 [n, s, s, 3], and their `seeds` int64 [n]."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from app.png_pixels import read_pixels

_MAGIC: Final = b"\x93NUMPY\x01\x00"
_ALIGNMENT: Final = 64


def npy_header(kind: str, shape: Sequence[int]) -> bytes:
    """The beginning of a .npy file, version 1.0: the values follow, the last index running fastest.

    Args:
        kind: numpy's name of the values, such as `|u1` or `<i8`.
        shape: of the array.
    """
    fields = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({''.join(f'{side}, ' for side in shape)}), }}"
    length = len(_MAGIC) + 2 + len(fields) + 1
    padding = -length % _ALIGNMENT
    return _MAGIC + struct.pack("<H", len(fields) + padding + 1) + fields.encode("latin-1") + b" " * padding + b"\n"


def write_npz(target: Path, images: Iterable[tuple[int, bytes]], count: int) -> None:
    """Writes `count` images, given as seed and PNG file, whole or not at all; one at a time is held in memory.

    Raises:
        ValueError: a PNG cannot be read, or they differ in size.
        OSError: the file cannot be written.
    """
    partial = target.with_name(f"{target.name}.part")
    seeds: list[int] = []
    size: tuple[int, int] | None = None
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            with archive.open("images.npy", "w", force_zip64=True) as file:
                for seed, png in images:
                    width, height, pixels = read_pixels(png)
                    if size is None:
                        size = width, height
                        file.write(npy_header("|u1", (count, height, width, 3)))
                    if size != (width, height):
                        raise ValueError(
                            f"the image of seed {seed} is {width} x {height}, others {size[0]} x {size[1]}"
                        )
                    file.write(pixels)
                    seeds.append(seed)
            if len(seeds) != count:
                raise ValueError(f"there are {len(seeds)} images, not {count}")
            archive.writestr("seeds.npy", npy_header("<i8", (count,)) + struct.pack(f"<{count}q", *seeds))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
