"""KID while a model trains: how like photos its flowers are after each epoch, as the Keras DDIM example watches it."""

from __future__ import annotations

import numpy as np

from model.bundle import Bundle
from model.dataset import Dataset
from model.features import FeatureExtractor
from model.kid import Features, kid
from model.sampling import Sampler

STEPS = 5
"""Diffusion steps of the flowers, as in the example: enough to see whether it gets better."""
IMAGES = 256
BATCH_SIZE = 32


class KidWatch:
    """Compares a model's flowers with the validation photos of a dataset, at whatever size it is trained at.

    Always the flowers of the same seeds; figures at different sizes cannot be compared.

    Raises:
        ValueError: there are fewer than two validation photos.
    """

    def __init__(self, name: str, extractor: FeatureExtractor, dataset: Dataset, images: int = IMAGES) -> None:
        self.name = name
        """Of the features, as it stands in scores."""
        self._extractor, self._photos, self._images = extractor, dataset.validation, images
        self._real: dict[int, Features] = {}
        count = min(len(photos) for photos in self._photos.values())
        if count < 2:
            raise ValueError(f"KID needs two validation photos, there are {count}")

    def __call__(self, bundle: Bundle) -> float:
        """The KID of the bundle's flowers."""
        if bundle.image_size not in self._real:
            self._real[bundle.image_size] = self._extractor(self._photos[bundle.image_size])
        sampler = Sampler(bundle, exact=False)
        flowers = np.concatenate(
            [
                sampler.sample(range(start, min(start + BATCH_SIZE, self._images)), STEPS)
                for start in range(0, self._images, BATCH_SIZE)
            ]
        )
        return kid(self._real[bundle.image_size], self._extractor(flowers))
