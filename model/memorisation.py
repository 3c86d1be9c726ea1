"""Memorisation: which generated images are copies of photos that were trained on?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.dataset import Pixels
from model.grid import image_grid

RATIO = 3
"""An image this many times nearer to its nearest photo than to the next one is a copy of it."""
PAIR_COLUMNS = 4
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class Nearest:
    """For each of n images, the photo nearest to it in pixels, mirrored if it is nearer that way."""

    photo: npt.NDArray[np.int64]
    """Its row among the photos, [n]."""
    mirrored: npt.NDArray[np.bool_]
    """Whether its mirror image is the nearest, [n]."""
    squared: npt.NDArray[np.float64]
    """Squared L2 distance over all pixels, in grey levels of 0..255, a whole number, [n]."""
    next_squared: npt.NDArray[np.float64]
    """The same for the photo that comes second, [n]."""

    @property
    def memorised(self) -> npt.NDArray[np.bool_]:
        """Which images are copies, [n].

        That the nearest photo be near is no sign: every image has one, and two blurred skies are near each other. That
        it be much nearer than any other is. A photo that is twice in the training set hides its own copies.
        """
        return RATIO**2 * self.squared < self.next_squared


def nearest_photos(images: Pixels, photos: Pixels) -> Nearest:
    """Find the photo nearest to each image.

    Args:
        images: uint8 [n, s, s, 3].
        photos: uint8 [m, s, s, 3], m at least 2.

    Raises:
        ValueError: no images, fewer than two photos, or photos of another size.
    """
    if not len(images) or len(photos) < 2 or images.shape[1:] != photos.shape[1:]:
        raise ValueError(f"cannot look for copies of photos {photos.shape} among images {images.shape}")
    parts = [_nearest(images[start : start + _CHUNK], photos) for start in range(0, len(images), _CHUNK)]
    return Nearest(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def pairs_picture(images: Pixels, photos: Pixels, nearest: Nearest, count: int = 32) -> Image.Image:
    """The ``count`` images nearest to a photo, the nearest first: each image, and to its right the photo as found."""
    chosen = np.argsort(nearest.squared, kind="stable")[:count]
    found = photos[nearest.photo[chosen]]
    found = np.where(nearest.mirrored[chosen, None, None, None], found[:, :, ::-1], found)
    return image_grid(np.concatenate([images[chosen], found], axis=2), PAIR_COLUMNS, gap=6)


def _nearest(images: Pixels, photos: Pixels) -> tuple[npt.NDArray[Any], ...]:
    """The columns of ``Nearest`` for some of the images."""
    plain = _squared_distances(images, photos)
    # A photo's mirror image is as far from an image as the photo is from the image's.
    mirrored = _squared_distances(images[:, :, ::-1], photos)
    either = np.minimum(plain, mirrored)
    rows, photo = np.arange(len(images)), either.argmin(axis=1)
    return photo, mirrored[rows, photo] < plain[rows, photo], either[rows, photo], np.partition(either, 1, axis=1)[:, 1]


def _squared_distances(images: Pixels, photos: Pixels) -> npt.NDArray[np.float64]:
    """[n, m], exact: sums of whole numbers, which float64 holds up to 2**53."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    squares = (flat**2).sum(axis=1)
    distances = np.empty((len(images), len(photos)))
    for start in range(0, len(photos), _CHUNK):
        part = photos[start : start + _CHUNK]
        chunk = part.reshape(len(part), -1).astype(np.float64)
        distances[:, start : start + _CHUNK] = squares[:, None] + (chunk**2).sum(axis=1) - 2.0 * (flat @ chunk.T)
    return distances
