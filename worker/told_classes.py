"""What kind of flower the network is told that an image is of, drawn once for all of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from model.classes import ClassWeights, class_weights, class_weights_between
from worker.protocol import ImageKey

_KEPT: Final = 4096


class ToldClasses:
    """Class weights by image, as many as a few full batches need. Not for several threads at once."""

    def __init__(self, counts: Sequence[int]) -> None:
        """Args: counts: photos of each class, by which classes are drawn; empty where the network is told none."""
        self._counts = tuple(counts)
        self._drawn: dict[ImageKey, ClassWeights] = {}

    def of(self, key: ImageKey) -> ClassWeights:
        """float32 [classes]: of the class of the image's seed, or between those of two seeds."""
        if (weights := self._drawn.get(key)) is None:
            if len(self._drawn) >= _KEPT:
                self._drawn.clear()
            weights = self._drawn[key] = _draw(key, self._counts)
        return weights


def _draw(key: ImageKey, counts: tuple[int, ...]) -> ClassWeights:
    if key.part:
        return class_weights_between(key.seed, key.toward, key.part, key.parts, counts)
    return class_weights(key.seed, counts)
