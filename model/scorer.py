"""Scores sets of images against photos: the reals they are compared with are prepared once, then any set is scored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from model.dataset import Dataset, Pixels
from model.features import FeatureExtractor
from model.kid import kid, resampled_spread
from model.manifold import NEIGHBOURS, precision_recall
from model.scores import Figures

MIN_IMAGES = NEIGHBOURS + 1
"""The least number of images on either side."""
RESIZE = "box"
"""How photos are reduced to the size of the comparison. A score depends on it, so it is the same for every bundle."""


class Scorer:
    """Compares images with the validation photos of a dataset, whose features it holds.

    Both sides go through the same sizes and through 8 bits a channel.

    Raises:
        ValueError: there are too few photos.
    """

    def __init__(self, extractors: Mapping[str, FeatureExtractor], dataset: Dataset, image_size: int) -> None:
        self.image_size = image_size
        self.train_photos, validation = dataset.train[image_size], dataset.validation[image_size]
        if min(len(self.train_photos), len(validation)) < MIN_IMAGES:
            raise ValueError(
                f"{dataset.source}: {len(self.train_photos)} training and {len(validation)} validation photos; "
                f"at least {MIN_IMAGES} of each are needed"
            )
        self.real_count, self.data_fingerprint = len(validation), dataset.without_classes().fingerprint()
        self._extractors = extractors
        self._real = {name: extractor(validation) for name, extractor in extractors.items()}

    def score(self, images: Pixels) -> Figures:
        """How like photos are images, uint8 [n, image_size, image_size, 3], n at least 4: all figures but one."""
        figures: Figures = {}
        for name, extractor in self._extractors.items():
            real, generated = self._real[name], extractor(images)
            figures[f"kid_{name}"] = kid(real, generated)
            figures[f"kid_{name}_resampled"] = resampled_spread(real, generated)
            figures[f"precision_{name}"], figures[f"recall_{name}"] = precision_recall(real, generated)
        return figures

    def score_photos(self, count: int) -> Figures:
        """The figures of up to ``count`` training photos, evenly chosen: what a perfect model would get."""
        chosen = np.linspace(0, len(self.train_photos) - 1, min(count, len(self.train_photos))).round().astype(int)
        return self.score(self.train_photos[chosen])


def resized(images: Pixels, image_size: int) -> Pixels:
    """Images [n, s, s, 3] at another size: averaged over areas where that is smaller, else bicubic."""
    side = images.shape[1]
    if side == image_size:
        return images
    resampling = Image.Resampling.BOX if image_size < side else Image.Resampling.BICUBIC
    return np.stack(
        [np.asarray(Image.fromarray(image).resize((image_size, image_size), resampling)) for image in images]
    )
