"""Images scored against photos, by features that cost nothing."""

import numpy as np
import pytest

from model.dataset import Dataset
from model.kid import kid, resampled_spread
from model.manifold import precision_recall
from model.scorer import Scorer, resized
from tests.unit.model_evaluate.photos import colours, made_photos


def dataset(train: int = 30, valid: int = 20) -> Dataset:
    return Dataset("made", {16: made_photos(0, train)}, {16: made_photos(1, valid)}, ())


def test_each_figure_is_that_of_the_features_against_the_validation_photos() -> None:
    data, images = dataset(), made_photos(2, 12)
    figures = Scorer({"a": colours, "b": lambda x: colours(x) ** 2}, data, 16).score(images)
    real, generated = colours(data.validation[16]), colours(images)
    precision, recall = precision_recall(real, generated)
    assert {name: value for name, value in figures.items() if name.endswith(("_a", "_a_resampled"))} == {
        "kid_a": kid(real, generated),
        "kid_a_resampled": resampled_spread(real, generated),
        "precision_a": precision,
        "recall_a": recall,
    }
    assert figures["kid_b"] == kid(real**2, generated**2)


def test_photos_themselves_are_scored_evenly_chosen() -> None:
    data = dataset(train=31)
    scorer = Scorer({"a": colours}, data, 16)
    assert scorer.score_photos(4) == scorer.score(data.train[16][[0, 10, 20, 30]])
    assert scorer.score_photos(1000) == scorer.score(data.train[16])


def test_photos_score_better_than_noise() -> None:
    scorer = Scorer({"a": colours}, dataset(), 16)
    noise = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    assert abs(scorer.score_photos(30)["kid_a"]) < 0.1 * scorer.score(noise)["kid_a"]


@pytest.mark.parametrize(("train", "valid"), [(3, 20), (30, 3)])
def test_too_few_photos_are_refused(train: int, valid: int) -> None:
    with pytest.raises(ValueError, match=f"{train} training and {valid} validation photos; at least 4"):
        Scorer({"a": colours}, dataset(train, valid), 16)


def test_images_of_the_right_size_are_left_alone() -> None:
    images = made_photos(0, 3)
    np.testing.assert_array_equal(resized(images, 16), images)


def test_smaller_images_are_means_over_areas() -> None:
    images = made_photos(0, 3)
    means = images.reshape(3, 8, 2, 8, 2, 3).astype(np.float64).mean(axis=(2, 4))
    # Rounded twice: along rows, then along columns.
    assert np.abs(resized(images, 8) - means).max() <= 1.0


def test_larger_images_keep_their_colours() -> None:
    images = np.array([0, 90, 255], np.uint8)[:, None, None, None] * np.ones((3, 16, 16, 3), np.uint8)
    larger = resized(images, 64)
    assert larger.shape == (3, 64, 64, 3)
    np.testing.assert_array_equal(larger[:, 7, 33, 0], [0, 90, 255])
