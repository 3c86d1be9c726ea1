"""The pixel statistics of the training photos: part of the model, saved with it and never guessed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Normaliser:
    """Per-channel mean and standard deviation of pixels in [0, 1]: float32 [3] each, std above 0."""

    mean: npt.NDArray[np.float32]
    std: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if (
            self.mean.shape != (3,)
            or self.std.shape != (3,)
            or not (np.isfinite([*self.mean, *self.std]).all() and (self.std > 0).all())
        ):
            raise ValueError("a normaliser needs three finite means and three positive standard deviations")

    @classmethod
    def of(cls, photos: npt.NDArray[np.uint8] | Iterable[npt.NDArray[np.uint8]]) -> Self:
        """The statistics of uint8 photos [n, s, s, 3]."""
        count, total, squares = 0, np.zeros(3), np.zeros(3)
        for photo in photos:
            pixels = np.asarray(photo, np.float64).reshape(-1, 3) / 255.0
            count += len(pixels)
            total += pixels.sum(axis=0)
            squares += (pixels**2).sum(axis=0)
        mean = total / count
        # A channel without any variation would divide by zero: one grey level is the least that can be seen.
        std = np.sqrt(np.maximum(squares / count - mean**2, (1.0 / 255.0) ** 2))
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def normalise(self, images: Any) -> Any:
        """Images in [0, 1], [..., 3], to mean 0 and variance 1."""
        return (images - self.mean) / self.std

    def denormalise(self, images: Any) -> Any:
        """The way back; not clipped."""
        return images * self.std + self.mean
