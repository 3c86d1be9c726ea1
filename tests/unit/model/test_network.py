"""The U-Net: the reference's network to the parameter, and its embedding in float32 under every policy."""

import keras
import numpy as np
import pytest
from keras import ops

from model.attention import SelfAttention
from model.config import PRESETS, NetworkConfig
from model.network import SinusoidalEmbedding, build_network, sinusoidal_embedding

TINY = PRESETS["tiny"].network
SMALLEST = NetworkConfig((8,), 1)  # JAX compiles a random generator for each shape of a weight that is drawn


def trained(network):
    return sum(int(np.prod(variable.shape)) for variable in network.trainable_variables)


@pytest.fixture(scope="module")
def reference():
    return build_network(NetworkConfig(), 64, seed=None)


def test_the_reference_has_the_published_number_of_parameters(reference):
    assert reference.count_params() == 1_953_507
    assert trained(reference) == 1_950_627


def test_the_reference_is_built_as_published(reference):
    def layers(kind):
        return [layer for layer in reference.layers if isinstance(layer, kind)]

    norms = layers(keras.layers.BatchNormalization)
    assert len(norms) == 14  # two blocks at each of seven stations
    assert not any(norm.center or norm.scale for norm in norms)
    threes = [layer for layer in layers(keras.layers.Conv2D) if layer.kernel_size == (3, 3)]
    assert [layer.activation.__name__ for layer in threes] == ["silu", "linear"] * 14
    assert len(layers(keras.layers.AveragePooling2D)) == 3
    assert [layer.interpolation for layer in layers(keras.layers.UpSampling2D)] == ["nearest"] + ["bilinear"] * 3
    assert reference.inputs[1].shape == (None, 1, 1, 1)
    assert reference.output.shape == (None, 64, 64, 3)


def test_an_untrained_network_says_zero():
    network = build_network(SMALLEST, 16)
    noises = network.predict_on_batch([np.ones((2, 16, 16, 3), np.float32), np.full((2, 1, 1, 1), 0.5, np.float32)])
    np.testing.assert_array_equal(noises, 0.0)


def reference_embedding(variances, dims, max_frequency):
    frequencies = np.exp(np.linspace(np.log(1.0), np.log(max_frequency), dims // 2))
    angles = 2.0 * np.pi * frequencies * variances.astype(np.float64)[..., None]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def test_the_embedding_is_that_of_the_example():
    variances = np.linspace(0.0, 1.0, 57, dtype=np.float32)
    embedded = ops.convert_to_numpy(sinusoidal_embedding(variances[:, None], 32, 1000.0))
    np.testing.assert_allclose(embedded, reference_embedding(variances, 32, 1000.0), atol=2e-3)


def test_the_embedding_stays_in_float32_where_all_else_is_bfloat16():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        layer = SinusoidalEmbedding(32, 1000.0)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    variances = np.linspace(0.0, 1.0, 57, dtype=np.float32)
    embedded = layer(variances[:, None])
    assert keras.backend.standardize_dtype(embedded.dtype) == "float32"
    np.testing.assert_allclose(
        ops.convert_to_numpy(embedded), reference_embedding(variances, 32, 1000.0), atol=2e-3
    )  # fmt: skip


def test_mixed_precision_computes_in_bfloat16_and_answers_in_float32():
    network = build_network(TINY, 16, "mixed_bfloat16", seed=None)
    convolutions = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions[:-1]} == {"bfloat16"}
    assert {layer.variable_dtype for layer in convolutions} == {"float32"}
    assert network.output.dtype == "float32"


@pytest.mark.parametrize(
    "config",
    [TINY, NetworkConfig((8, 16), 1, 8, patch_size=2), NetworkConfig((8, 16), 1, 8, embed_in_blocks=True)],
)
def test_the_same_weights_fit_every_size(config):
    small, large = build_network(config, 16, seed=None), build_network(config, 32, seed=None)
    assert [variable.shape for variable in small.variables] == [variable.shape for variable in large.variables]
    assert large.output.shape == (None, 32, 32, 3)


def test_the_large_preset_has_attention_at_16_and_at_8_and_some_nine_million_parameters():
    network = build_network(PRESETS["flowers64-xl"].network, 64, seed=None)
    sides = {layer.output.shape[1] for layer in network.layers if isinstance(layer, SelfAttention)}
    assert sides == {16, 8}
    assert network.count_params() == 9_143_603


def test_the_same_seed_makes_the_same_weights():
    one, same, other = (build_network(SMALLEST, 16, seed=seed) for seed in (1, 1, 2))
    kernels = [network.trainable_variables[0].numpy() for network in (one, same, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()


def test_without_a_seed_the_weights_wait_for_others():
    network, drawn = build_network(SMALLEST, 16, seed=None), build_network(SMALLEST, 16)
    assert all((ops.convert_to_numpy(variable.value) == 0.0).all() for variable in network.trainable_variables)
    assert [variable.shape for variable in network.variables] == [variable.shape for variable in drawn.variables]


def test_the_noise_level_reaches_every_block_that_is_told():
    told = build_network(NetworkConfig((8, 16), 1, 8, embed_in_blocks=True), 16, seed=None)
    untold = build_network(NetworkConfig((8, 16), 1, 8), 16, seed=None)
    assert sum(isinstance(layer, keras.layers.Dense) for layer in told.layers) == 2 + 2 * 3
    assert not any(isinstance(layer, keras.layers.Dense) for layer in untold.layers)


def test_patches_become_pixels_in_their_places():
    network = build_network(NetworkConfig((8, 16), 1, 8, patch_size=2), 16, seed=None)
    kernel, bias = next(layer for layer in reversed(network.layers) if layer.weights).weights
    bias.assign(np.arange(12, dtype=np.float32))  # the kernel is zero: each patch is its bias
    image = network.predict_on_batch([np.zeros((1, 16, 16, 3), np.float32), np.zeros((1, 1, 1, 1), np.float32)])[0]
    assert kernel.shape == (1, 1, 8, 12)
    np.testing.assert_array_equal(image[6:8, 4:6].ravel(), np.arange(12))


def test_a_size_that_does_not_halve_evenly_is_refused():
    with pytest.raises(ValueError, match="multiple of 8"):
        build_network(NetworkConfig(), 60)
