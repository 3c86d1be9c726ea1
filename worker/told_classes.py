"""What kind of flower the network is told that an image is of, found out once for all of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from model.classes import ClassWeights, class_weights, class_weights_between, class_weights_of
from worker.protocol import ImageKey

_KEPT: Final = 4096


class ToldClasses:
    """Class weights by image, as many as a few full batches need. Not for several threads at once."""

    def __init__(self, counts: Sequence[int], names: Sequence[str] = ()) -> None:
        """Makes one that has drawn nothing.

        Args:
            counts: photos of each class, by which classes are drawn; empty where the network is told none.
            names: of the classes, by which images ask for one.
        """
        self._counts = tuple(counts)
        self._names = tuple(names)
        self._drawn: dict[ImageKey, ClassWeights] = {}

    def of(self, key: ImageKey) -> ClassWeights:
        """float32 [classes]: of the class that the image asks for, or of its seed's, or between those of two seeds.

        Raises:
            ValueError: it asks for a class that there is not.
        """
        if (weights := self._drawn.get(key)) is None:
            if len(self._drawn) >= _KEPT:
                self._drawn.clear()
            weights = self._drawn[key] = self._draw(key)
        return weights

    def _draw(self, key: ImageKey) -> ClassWeights:
        if key.kind:
            return class_weights_of(key.kind, self._names)
        if key.part:
            return class_weights_between(key.seed, key.toward, key.part, key.parts, self._counts)
        return class_weights(key.seed, self._counts)
