"""The pixel statistics."""

import numpy as np
import pytest

from model.normaliser import Normaliser

PHOTOS = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)


def test_the_photos_it_was_made_of_get_mean_zero_and_variance_one():
    images = Normaliser.of(PHOTOS).normalise(PHOTOS / np.float32(255.0))
    np.testing.assert_allclose(images.mean((0, 1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(images.var((0, 1, 2)), 1.0, atol=1e-5)


def test_there_is_a_way_back():
    normaliser, images = Normaliser.of(PHOTOS), PHOTOS / np.float32(255.0)
    np.testing.assert_allclose(normaliser.denormalise(normaliser.normalise(images)), images, atol=1e-6)


def test_a_channel_that_never_varies_divides_by_no_zero():
    photos = PHOTOS.copy()
    photos[..., 1] = 77
    assert np.isfinite(Normaliser.of(photos).normalise(photos / np.float32(255.0))).all()


@pytest.mark.parametrize("std", [[1.0, 0.0, 1.0], [1.0, -1.0, 1.0], [1.0, 1.0], [1.0, np.inf, 1.0], [1.0, np.nan, 1.0]])
def test_impossible_statistics_are_refused(std):
    with pytest.raises(ValueError, match="deviations"):
        Normaliser(np.zeros(3, np.float32), np.array(std, np.float32))
