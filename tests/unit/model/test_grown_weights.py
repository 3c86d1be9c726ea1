"""A larger network that begins from a smaller one computes the same, and learns with all that it has more."""

from __future__ import annotations

import dataclasses
import re

import keras
import numpy as np
import pytest
from keras import ops

from model.config import NetworkConfig
from model.grown_weights import can_grow, grown_weights
from model.network import build_network

SMALL = NetworkConfig(widths=(8, 12, 16), block_depth=1, embedding_dims=4, patch_size=2, embed_in_blocks=True)
WIDER = dataclasses.replace(SMALL, widths=(8, 16, 32))
SIDE = 16


def shaken(config: NetworkConfig, seed: int) -> keras.Model:
    """A network with no weight at zero and with statistics of its own, as training leaves it."""
    network = build_network(config, SIDE, seed=None)
    random = np.random.default_rng(seed)
    for variable in network.variables:
        drawn = random.normal(0.0, 0.1, variable.shape)
        variable.assign(np.exp(drawn) if variable.name == "moving_variance" else drawn)
    return network


def grow(small: keras.Model, config: NetworkConfig) -> keras.Model:
    """``small`` in a network by ``config`` that has other weights, but for those that begin as zeros."""
    large = shaken(config, 2)
    for variable in large.variables:
        if re.match(r"attention_\d+_out/|class_embedding/", variable.path):
            variable.assign(np.zeros(variable.shape))
    for path, value in grown_weights(small, large).items():
        next(variable for variable in large.variables if variable.path == path).assign(value)
    return large


def predict(network: keras.Model, classes: int = 0) -> np.ndarray:
    random = np.random.default_rng(3)
    images = random.normal(size=(3, SIDE, SIDE, 3)).astype("float32")
    variances = random.uniform(size=(3, 1, 1, 1)).astype("float32")
    told = [np.eye(3, classes, dtype="float32")] if classes else []
    return network.predict_on_batch([images, variances, *told])


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"widths": (8, 16, 32)},
        {"attention_levels": 2},
        {"widths": (8, 12, 64), "attention_levels": 1, "head_width": 32},
        {"prediction": "velocity"},
        {"classes": 5},
        {"widths": (10, 16, 20), "attention_levels": 3, "classes": 5},
    ],
    ids=str,
)
def test_it_computes_what_the_smaller_one_does(change):
    config = dataclasses.replace(SMALL, **change)
    small = shaken(SMALL, 1)
    assert can_grow(SMALL, config)
    assert predict(grow(small, config), config.classes) == pytest.approx(predict(small), rel=1e-4, abs=1e-4)


def test_known_attention_and_classes_are_kept():
    before = dataclasses.replace(SMALL, attention_levels=1, classes=5)
    after = dataclasses.replace(before, widths=(12, 14, 16))
    small = shaken(before, 1)
    assert can_grow(before, after)
    assert predict(grow(small, after), 5) == pytest.approx(predict(small, 5), rel=1e-4, abs=1e-4)


def test_the_network_to_be_filled_is_left_as_it_is():
    large = shaken(WIDER, 2)
    before = [np.array(ops.convert_to_numpy(variable.value)) for variable in large.variables]
    grown_weights(shaken(SMALL, 1), large)
    for variable, value in zip(large.variables, before, strict=True):
        assert np.array_equal(ops.convert_to_numpy(variable.value), value)


def test_new_channels_are_alive():
    """What reads a new channel has no weight for it yet, so that it must carry something to learn by."""
    small, config = shaken(SMALL, 1), dataclasses.replace(WIDER, attention_levels=1)
    large = build_network(config, SIDE, seed=5)
    grown = grown_weights(small, large)
    for layer in large.layers:
        if isinstance(layer, keras.layers.Conv2D) and not layer.name.endswith("_out") and layer.name != "pixels_out":
            kernel = grown[layer.kernel.path]
            assert np.abs(kernel).sum(axis=tuple(range(kernel.ndim - 1))).min() > 0, layer.name


@pytest.mark.parametrize(
    "change",
    [
        {"widths": (8, 12, 12)},
        {"widths": (8, 12, 14, 16)},
        {"widths": (12, 12, 16)},
        {"block_depth": 2},
        {"patch_size": 1},
        {"embedding_dims": 8},
        {"embed_in_blocks": False},
    ],
    ids=str,
)
def test_what_cannot_grow(change):
    assert not can_grow(SMALL, dataclasses.replace(SMALL, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"attention_levels": 0},
        {"attention_levels": 2},
        {"widths": (8, 12, 32)},
        {"head_width": 8},
        {"classes": 6},
        {"classes": 0},
    ],
    ids=str,
)
def test_attention_and_classes_that_are_there_stay_as_they_are(change):
    before = dataclasses.replace(SMALL, attention_levels=1, classes=5)
    assert can_grow(before, before)
    assert not can_grow(before, dataclasses.replace(before, **change))
