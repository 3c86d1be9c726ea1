"""A network that costs nothing: what is left is the price of queue, booking, encoding and storing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from model.bundle import Bundle


class InstantSampler:
    """In the place of model.sampling.Sampler: every image stays the noise that it began as, at once.

    Noise is the worst case for what follows: no picture is larger as a PNG.
    """

    def __init__(self, bundle: Bundle | None = None) -> None:
        pass

    def advance(self, noisy_images: Any, rates: npt.NDArray[np.float32]) -> tuple[Any, Any]:
        """Computes nothing."""
        images = ops.convert_to_tensor(noisy_images)
        return images, images

    def to_uint8(self, pred_images: Any) -> npt.NDArray[np.uint8]:
        """Noise as pixels: 0 is grey, three standard deviations are black or white."""
        images = ops.convert_to_numpy(pred_images)
        pixels: npt.NDArray[np.uint8] = np.clip(np.rint(images * 42.0 + 128.0), 0, 255).astype(np.uint8)
        return pixels
