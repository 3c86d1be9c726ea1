"""A network that costs nothing: what is left is the price of queue, booking, encoding and storing.

Or one that takes its time, but no processor: then a busy machine hardly disturbs what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops


class InstantSampler:
    """In the place of model.sampling.Sampler: every image stays the noise that it began as, at once.

    Noise is the worst case for what follows: no picture is larger as a PNG.
    """

    def advance(self, noisy_images: Any, last_images: Any, rates: npt.NDArray[np.float32]) -> tuple[Any, Any]:
        """Computes nothing."""
        images = ops.convert_to_tensor(noisy_images)
        return images, images

    def to_uint8(self, pred_images: Any) -> npt.NDArray[np.uint8]:
        """Noise as pixels: 0 is grey, three standard deviations are black or white."""
        images = ops.convert_to_numpy(pred_images)
        pixels: npt.NDArray[np.uint8] = np.clip(np.rint(images * 42.0 + 128.0), 0, 255).astype(np.uint8)
        return pixels


class PacedSampler(InstantSampler):
    """Computes nothing either, but sleeps for as long as a step of so many rows is said to take."""

    def __init__(self, step_seconds: Mapping[int, float]) -> None:
        """Makes one; `step_seconds` has the seconds for each slot count that there is."""
        self._step_seconds = step_seconds

    def advance(self, noisy_images: Any, last_images: Any, rates: npt.NDArray[np.float32]) -> tuple[Any, Any]:
        """Sleeps."""
        time.sleep(len(rates) * self._step_seconds[len(noisy_images)])
        return super().advance(noisy_images, last_images, rates)
