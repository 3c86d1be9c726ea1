"""What of an image is coarse: large shapes and colours, without the detail."""

from __future__ import annotations

from typing import Any

Tensor = Any


def coarse_part(images: Tensor, cells: int, xp: Any) -> Tensor:
    """The averages of a grid of ``cells`` x ``cells``, bilinear in between: what is left is the detail.

    Args:
        images: [n, s, s, 3].
        cells: of a side; they must divide s.
        xp: ``keras.ops``. (Guidance is an option of commands too, which need not import Keras to read it.)

    Returns:
        [n, s, s, 3]. Images never influence one another.
    """
    side = images.shape[1]
    width = side // cells
    averages = xp.average_pool(images, width, width)
    return xp.image.resize(averages, (side, side), interpolation="bilinear")
