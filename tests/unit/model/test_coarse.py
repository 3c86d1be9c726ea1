"""What is coarse: averages of cells, and straight lines from one to the next."""

import numpy as np
import pytest
from keras import ops

from model.coarse import coarse_part

SIDE = 16


def coarse(images, cells):
    return ops.convert_to_numpy(coarse_part(ops.convert_to_tensor(images, "float32"), cells, ops))


@pytest.mark.parametrize("cells", [1, 2, 4, 8, 16])
def test_between_the_middles_of_cells_it_is_linear(cells):
    """Along each axis by itself, and level outside of the first and the last; in closed form by numpy."""
    images = np.random.default_rng(cells).normal(size=(2, SIDE, SIDE, 3))
    width = SIDE // cells
    expected = images.reshape(2, cells, width, cells, width, 3).mean(axis=(2, 4))
    middles, pixels = (np.arange(cells) + 0.5) * width, np.arange(SIDE) + 0.5
    for axis in (1, 2):
        expected = np.apply_along_axis(lambda line: np.interp(pixels, middles, line), axis, expected)
    np.testing.assert_allclose(coarse(images, cells), expected, atol=1e-5)


def test_as_many_cells_as_pixels_leave_no_detail():
    images = np.random.default_rng(0).normal(size=(1, SIDE, SIDE, 3)).astype(np.float32)
    np.testing.assert_allclose(coarse(images, SIDE), images, atol=1e-6)
