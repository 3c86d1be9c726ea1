"""Many images as one picture, in rows and columns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image


def image_grid(images: npt.NDArray[np.uint8], columns: int, gap: int = 2) -> Image.Image:
    """Lay images out row by row on white.

    Args:
        images: uint8 [n, h, w, 3].
        columns: images a row; the last row may be shorter.
        gap: white pixels between images.
    """
    count, height, width, _ = images.shape
    rows = -(-count // columns)
    canvas = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        canvas.paste(Image.fromarray(image), (column * (width + gap), row * (height + gap)))
    return canvas
