"""Self-attention, held to its formula written out in numpy."""

import numpy as np
import pytest
from keras import ops

from model.attention import SelfAttention
from model.config import NetworkConfig
from model.network import build_network

INPUTS = np.random.default_rng(0).normal(size=(3, 4, 4, 48)).astype(np.float32)


def attended(inputs, heads, precision="float32"):
    return ops.convert_to_numpy(ops.cast(SelfAttention(heads, precision)(inputs), "float32"))


def written_out(inputs, heads):
    count, height, width, channels = inputs.shape
    depth = channels // 3 // heads
    split = inputs.reshape(count, height * width, 3, heads, depth)
    outputs = np.empty((count, height * width, heads, depth))
    for image in range(count):
        for head in range(heads):
            queries, keys, values = (split[image, :, part, head] for part in range(3))
            shares = np.exp(queries @ keys.T / np.sqrt(depth))
            outputs[image, :, head] = shares / shares.sum(axis=1, keepdims=True) @ values
    return outputs.reshape(count, height, width, channels // 3)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_it_is_the_published_formula(heads):
    np.testing.assert_allclose(attended(INPUTS, heads), written_out(INPUTS, heads), atol=1e-5)


def test_positions_have_no_order():
    mirrored = attended(INPUTS[:, :, ::-1], 2)
    np.testing.assert_allclose(mirrored, attended(INPUTS, 2)[:, :, ::-1], atol=1e-5)


def test_bfloat16_is_near():
    np.testing.assert_allclose(attended(INPUTS, 2, "mixed_bfloat16"), written_out(INPUTS, 2), atol=0.05)


def test_only_the_coarsest_levels_have_it():
    network = build_network(NetworkConfig((8, 16, 16), 2, attention_levels=2, head_width=8), 16, seed=None)
    layers = [layer for layer in network.layers if isinstance(layer, SelfAttention)]
    # Two blocks a station: on the way down and up at 8 x 8, and once at 4 x 4.
    assert [layer.output.shape[1] for layer in layers] == [8, 8, 4, 4, 8, 8]
    assert {layer.heads for layer in layers} == {2}
    plain = build_network(NetworkConfig((8, 16, 16), 2), 16, seed=None)
    assert not any(isinstance(layer, SelfAttention) for layer in plain.layers)


def test_it_begins_as_the_network_without_it():
    config = NetworkConfig((8, 16), 1, attention_levels=1)
    network = build_network(config, 16, seed=1)
    inputs = [np.ones((1, 16, 16, 3), np.float32), np.full((1, 1, 1, 1), 0.5, np.float32)]
    attention = next(layer for layer in network.layers if isinstance(layer, SelfAttention))
    after = network.layers[network.layers.index(attention) + 1]
    assert not ops.convert_to_numpy(after.kernel.value).any()
    np.testing.assert_array_equal(network.predict_on_batch(inputs), 0.0)
