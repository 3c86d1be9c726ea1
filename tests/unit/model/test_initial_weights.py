"""Initial weights: of the published distribution, and of the seed alone."""

import keras
import numpy as np
import pytest
from keras import ops

from model.initial_weights import HostGlorotUniform


@pytest.mark.parametrize("shape", [(64, 200), (3, 3, 16, 48), (2, 2, 3, 96)])
def test_they_spread_as_those_of_keras(shape):
    ours, theirs = (
        ops.convert_to_numpy(initializer(shape))
        for initializer in (HostGlorotUniform(7), keras.initializers.GlorotUniform(7))
    )
    assert ours.shape == shape
    assert ours.dtype == np.float32
    limit = np.sqrt(6.0 / (np.prod(shape[:-2]) * sum(shape[-2:])))
    for weights in (ours, theirs):
        assert np.abs(weights).max() == pytest.approx(limit, rel=0.01)
        assert np.abs(weights).max() <= limit
        assert weights.mean() == pytest.approx(0.0, abs=0.05 * limit)
        assert weights.std() == pytest.approx(limit / np.sqrt(3.0), rel=0.05)


def test_they_are_of_the_seed_and_the_same_on_every_backend():
    drawn = [ops.convert_to_numpy(HostGlorotUniform(seed)((2, 2))) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).all()
    expected = np.random.default_rng(1).uniform(-np.sqrt(1.5), np.sqrt(1.5), (2, 2)).astype(np.float32)
    np.testing.assert_array_equal(drawn[0], expected)


def test_a_saved_network_tells_its_seed():
    initializer = HostGlorotUniform(11)
    again = HostGlorotUniform.from_config(initializer.get_config())
    np.testing.assert_array_equal(*(ops.convert_to_numpy(one((3, 4))) for one in (initializer, again)))
