"""From pixels to a PNG file that says how to make it again."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from worker.protocol import KIND_KEYWORD, SamplerName

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_END: Final = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def reproduction_metadata(
    bundle_name: str,
    bundle_hash: str,
    seed: int,
    steps: int,
    sampler: SamplerName = "ddim",
    after: int = 0,
    kind: str = "",
) -> dict[str, str]:
    """The text chunks of an image: the bundle's name and hash, seed, steps, sampler and the software's version.

    One that is not finished says after how many of its steps it is (`after`; 0: it is finished); one of a bundle that
    knows kinds of flowers of what kind it is.
    """
    metadata = {
        "Software": _software(),
        "bouquet:bundle": bundle_name,
        "bouquet:bundle-hash": bundle_hash,
        "bouquet:seed": str(seed),
        "bouquet:steps": str(steps),
        "bouquet:sampler": sampler,
    }
    if after:
        metadata["bouquet:after"] = str(after)
    if kind:
        metadata[KIND_KEYWORD] = kind
    return metadata


@functools.cache
def _software() -> str:
    """Looked up once: it takes as long as encoding a small image."""
    return f"Bouquet {version('bouquet')}"


def encode_png(pixels: npt.NDArray[np.uint8], metadata: Mapping[str, str]) -> bytes:
    """A PNG file with text chunks, in the order of `metadata`. No clock is asked, so equal input gives equal bytes.

    Args:
        pixels: uint8 [height, width, 3], RGB.
        metadata: keys of 1 to 79 Latin-1 characters; values that are not ASCII become UTF-8 (iTXt) chunks.
    """
    text = PngImagePlugin.PngInfo()
    for key, value in metadata.items():
        if value.isascii():
            text.add_text(key, value)
        else:
            text.add_itxt(key, value)
    file = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(file, format="PNG", pnginfo=text, compress_level=6)
    return file.getvalue()


def read_metadata(data: bytes) -> dict[str, str]:
    """The text chunks of a PNG file. Raises ValueError if the data are none."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
            return {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}
    except (OSError, SyntaxError) as error:
        raise ValueError(f"not a PNG file: {error}") from error


def is_whole_png(data: bytes, image_size: int) -> bool:
    """Whether the data look like a whole PNG file of `image_size` x `image_size` pixels: beginning, size and end."""
    size = image_size.to_bytes(4, "big")
    return data.startswith(_SIGNATURE) and data[16:24] == size + size and data.endswith(_END)
