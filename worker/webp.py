"""From pixels to a WebP file without loss: a frame of a morph, which the front end puts together (app/animation.py)."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def encode_webp(pixels: npt.NDArray[np.uint8]) -> bytes:
    """A WebP file with every pixel as it is. No clock is asked, so equal input gives equal bytes.

    Args:
        pixels: uint8 [height, width, 3], RGB.
    """
    file = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(file, format="WEBP", lossless=True, quality=60, method=4)
    return file.getvalue()


def is_whole_webp(data: bytes) -> bool:
    """Whether the data look like a whole WebP file of one lossless image (RFC 9649, 2.4 to 2.6)."""
    size = int.from_bytes(data[4:8], "little")
    return data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8L" and len(data) == size + 8
