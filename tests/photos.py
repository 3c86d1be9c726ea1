"""Photos for tests, painted here: bright petals around a heart, on green."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def paint_flower(seed: int, width: int = 24, height: int = 24) -> Image.Image:
    """A flower of `seed`: colours, petals and place differ, so that there is something to learn."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), (30, int(random.integers(60, 140)), 40))
    draw = ImageDraw.Draw(image)
    x, y = width / 2 + random.uniform(-2, 2), height / 2 + random.uniform(-2, 2)
    colour = tuple(int(value) for value in random.integers(90, 256, 3))
    petals, reach = int(random.integers(4, 8)), min(width, height) / 4
    for angle in np.arange(petals) * 2 * np.pi / petals:
        centre = (x + reach * np.cos(angle), y + reach * np.sin(angle))
        draw.ellipse(
            (centre[0] - reach / 2, centre[1] - reach / 2, centre[0] + reach / 2, centre[1] + reach / 2), colour
        )
    draw.ellipse((x - 2, y - 2, x + 2, y + 2), (240, 220, 60))
    return image


def paint_folder(folder: Path, count: int, first_seed: int = 0, **size: int) -> Path:
    """Save `count` flowers as PNGs in `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first_seed, first_seed + count):
        paint_flower(seed, **size).save(folder / f"flower-{seed:03d}.png")
    return folder
