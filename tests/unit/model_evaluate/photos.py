"""What the tests of evaluation have in common: photos made here, and features that cost nothing."""

from pathlib import Path

import numpy as np
from PIL import Image

from model.dataset import Pixels
from model.kid import Features


def made_photos(seed: int, count: int, side: int = 16) -> Pixels:
    """Slopes between random colours with some noise: unlike one another, and smooth enough to be resized."""
    random = np.random.default_rng(seed)
    left, right = random.integers(0, 256, (2, count, 1, 1, 3))
    slope = np.linspace(0.0, 1.0, side)[None, None, :, None]
    photos = left * (1.0 - slope) + right * slope + random.normal(0.0, 8.0, (count, side, side, 3))
    return photos.clip(0, 255).astype(np.uint8)


def write_photos(folder: Path, photos: Pixels) -> None:
    folder.mkdir(parents=True)
    for index, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"{index:03d}.png")


def write_data(folder: Path, train: Pixels, valid: Pixels) -> Path:
    """A data folder with both splits."""
    write_photos(folder / "train", train)
    write_photos(folder / "valid", valid)
    return folder


def colours(images: Pixels) -> Features:
    """Means and deviations of an image's channels: six features of about 1 in size."""
    pixels = images.reshape(len(images), -1, 3).astype(np.float64) / 255.0
    return np.concatenate([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)
