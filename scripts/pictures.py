"""Makes the pictures of README.md and docs/quality.md anew, of the bundle that ships: `make pictures`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from PIL import Image, ImageDraw  # noqa: E402 (the line above lets it find the model)

from model.bundle import default_bundle_path, load_bundle  # noqa: E402
from model.grid import image_grid  # noqa: E402
from model.sampling import Sampler  # noqa: E402

PICTURES = ROOT / "docs" / "images"
STEPS = 20
TWICE = 2
"""As large as it is shown: browsers blur what they enlarge."""
KINDS = ("sunflower", "rose", "water lily", "passion flower")
KIND_SEEDS = range(7, 13)
SAMPLER_ROWS = (("ddim", 6), ("multistep", 6), ("ddim", STEPS))
CAPTION_HEIGHT = 20
COLUMNS = 8


def main() -> int:
    """Writes grid.png, kinds.png and samplers.png of docs/images."""
    sampler = Sampler(load_bundle(default_bundle_path()))
    save(image_grid(sampler.sample(range(32), STEPS), COLUMNS), "grid", TWICE)
    kinds = np.concatenate([sampler.sample(KIND_SEEDS, STEPS, kind=kind) for kind in KINDS])
    save(image_grid(kinds, len(KIND_SEEDS), gap=0), "kinds", TWICE)
    save(samplers(sampler), "samplers", 1)
    return 0


def samplers(sampler: Sampler) -> Image.Image:
    """The same sixteen seeds by each sampler, one below the other, each with its name above."""
    strips = [
        (f"{name}, {steps} steps", image_grid(sampler.sample(range(16), steps, name), COLUMNS))
        for name, steps in SAMPLER_ROWS
    ]
    width, height = strips[0][1].size
    picture = Image.new("RGB", (width, len(strips) * (height + CAPTION_HEIGHT)), "white")
    for row, (caption, strip) in enumerate(strips):
        top = row * (height + CAPTION_HEIGHT)
        ImageDraw.Draw(picture).text((4, top + 4), caption, fill="black")
        picture.paste(strip, (0, top + CAPTION_HEIGHT))
    return picture


def save(picture: Image.Image, name: str, scale: int) -> None:
    """Writes a picture, every pixel of it a square of so many."""
    path = PICTURES / f"{name}.png"
    size = (picture.width * scale, picture.height * scale)
    picture.resize(size, Image.Resampling.NEAREST).save(path, optimize=True)
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    sys.exit(main())
