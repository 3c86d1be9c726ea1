"""Two moving averages of one training, a short one and a long one: which of them makes the better flowers?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class AverageScore:
    """How an average does on the validation photos."""

    ema: float
    """Its decay a step."""
    validation_noise_loss: float
    validation_kid: float | None
    """None where KID is not tracked."""


def better(scores: Sequence[AverageScore]) -> int:
    """The place of the one to keep: the lower KID if it is known of all, else the lower loss; the first of equals."""
    kids = [score.validation_kid for score in scores if score.validation_kid is not None]
    figures = kids if len(kids) == len(scores) else [score.validation_noise_loss for score in scores]
    return figures.index(min(figures))
