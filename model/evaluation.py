"""One evaluation of a bundle: its flowers at several numbers of steps and seeds, scored and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from model.dataset import Pixels
from model.grid import image_grid
from model.memorisation import nearest_photos, pairs_picture
from model.sampling import Sampler
from model.schedule import FEWEST_MULTISTEP_STEPS, SamplerName
from model.scorer import Scorer, resized
from model.scores import card_scores, plot_scores, row_title, step_row

GRID_IMAGES = 32
GRID_COLUMNS = 8


@dataclass(frozen=True)
class Plan:
    """What is sampled: ``ranges`` x ``images`` flowers at each number of ``steps`` by each sampler, seeds from 0."""

    steps: tuple[int, ...]
    images: int
    """In a range of seeds; the figures depend on how many there are."""
    ranges: int
    batch_size: int
    """Flowers made together."""
    samplers: tuple[SamplerName, ...] = ("ddim",)

    @property
    def kinds(self) -> list[tuple[int, SamplerName]]:
        """The steps and the sampler of each row. Of few steps there is one row, since the samplers do not differ."""
        return [
            (steps, sampler)
            for steps in self.steps
            for sampler in (self.samplers if steps >= FEWEST_MULTISTEP_STEPS else self.samplers[:1])
        ]

    @property
    def image_steps(self) -> int:
        """All the work."""
        return sum(steps for steps, _ in self.kinds) * self.images * self.ranges


def evaluate(
    sampler: Sampler,
    scorer: Scorer,
    plan: Plan,
    folder: Path | None,
    advanced: Callable[[int], Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Score the sampler's bundle.

    Args:
        sampler: makes the flowers.
        scorer: prepared with the photos.
        plan: how many flowers, of how many steps, by which samplers.
        folder: where the pictures go: for each number of steps ``samples-0020.png`` (the first seeds) and
            ``nearest-0020.png`` (the flowers nearest to a training photo, beside that photo), with ``-multistep`` after
            the steps where that sampler made them; over several, ``scores.png``. None writes none.
        advanced: told of image-steps as they are done.
        say: told of each number of steps that is done, in a line.

    Returns:
        The scores as they go into the card, see ``model.scores``.
    """
    photos = scorer.score_photos(plan.images)
    rows = []
    for steps, kind in plan.kinds:
        images = resized(_flowers(sampler, plan, steps, kind, advanced), scorer.image_size)
        nearest = nearest_photos(images, scorer.train_photos)
        parts = [slice(start, start + plan.images) for start in range(0, len(images), plan.images)]
        figures = [{**scorer.score(images[part]), "memorised": float(nearest.memorised[part].mean())} for part in parts]
        rows.append(step_row(steps, figures, kind))
        say(
            f"{row_title(rows[-1])} steps: "
            + ", ".join(f"{name} {np.mean([f[name] for f in figures]):.4f}" for name in figures[0])
        )
        if folder:
            name = f"{steps:04d}" if kind == "ddim" else f"{steps:04d}-{kind}"
            image_grid(images[:GRID_IMAGES], GRID_COLUMNS).save(folder / f"samples-{name}.png")
            pairs_picture(images, scorer.train_photos, nearest).save(folder / f"nearest-{name}.png")
    measured = card_scores(_protocol(scorer, plan), photos, rows)
    if folder and len(rows) > 1:
        plot_scores(measured, folder / "scores.png")
    return measured


def _flowers(sampler: Sampler, plan: Plan, steps: int, kind: SamplerName, advanced: Callable[[int], Any]) -> Pixels:
    """The flowers of all ranges, one after the other."""
    batches = []
    for start in range(0, plan.images * plan.ranges, plan.batch_size):
        seeds = range(start, min(start + plan.batch_size, plan.images * plan.ranges))
        batches.append(sampler.sample(seeds, steps, kind))
        advanced(steps * len(seeds))
    return np.concatenate(batches)


def _protocol(scorer: Scorer, plan: Plan) -> dict[str, Any]:
    """What one must know to measure the same again."""
    return {
        "images": plan.images,
        "seed_ranges": plan.ranges,
        "image_size": scorer.image_size,
        "real_photos": scorer.real_count,
        "train_photos": len(scorer.train_photos),
        "data_sha256": scorer.data_fingerprint,
        "backend": keras.backend.backend(),
        "bouquet": version("bouquet"),
    }
