"""Muon: what it does to singular values, held to Keras' own where that does the same."""

import keras
import numpy as np
import pytest
from keras import ops

from model.adamw import AdamW
from model.config import PRESETS
from model.muon import Muon, orthogonalised
from model.network import build_network, hidden_matrices

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


START = [normal(6, 4), normal(4), normal(3, 5)]
CHOSEN = (True, False, True)
GRADIENTS = [[normal(*value.shape) for value in START] for _ in range(10)]


def steps(optimizer, start=START, gradients=GRADIENTS, rate=0.01):
    weights = [ops.convert_to_tensor(value) for value in start]
    state = optimizer.initial_state(weights)
    for of_a_step in gradients:
        weights, state = optimizer.apply(weights, of_a_step, state, rate)
    return [ops.convert_to_numpy(weight) for weight in weights]


@pytest.mark.parametrize("shape", [(12, 12), (40, 12), (12, 40), (1, 7)])
def test_the_directions_stay_and_all_count_alike(shape):
    matrix = normal(*shape)
    left, values, right = np.linalg.svd(ops.convert_to_numpy(orthogonalised(matrix)), full_matrices=False)
    assert values.min() > 0.6
    assert values.max() < 1.25
    exact_left, _, exact_right = np.linalg.svd(matrix, full_matrices=False)
    polar = exact_left @ exact_right
    np.testing.assert_allclose(left @ right, polar, atol=1e-3)


@pytest.mark.parametrize("shape", [(150, 30), (30, 150), (30, 30)])
def test_singular_values_go_where_the_published_iteration_takes_them(shape):
    """Those of a hundred-thousandth too, which the squares in a Gram matrix might swallow."""
    left, _, right = np.linalg.svd(RANDOM.normal(size=shape), full_matrices=False)
    matrix = (left * np.geomspace(1.0, 1e-5, 30)) @ right
    exact = matrix / np.sqrt(np.sum(matrix**2))
    for _ in range(5):
        gram = exact @ exact.T
        exact = 3.4445 * exact + (-4.7750 * gram + 2.0315 * gram @ gram) @ exact
    np.testing.assert_allclose(
        ops.convert_to_numpy(orthogonalised(matrix.astype(np.float32))), exact, atol=2e-3, rtol=0.0
    )


def test_nothing_is_made_of_no_gradient():
    np.testing.assert_array_equal(ops.convert_to_numpy(orthogonalised(np.zeros((3, 4), np.float32))), 0.0)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_steps_as_keras_does(decay):
    theirs = keras.optimizers.Muon(learning_rate=0.01, weight_decay=decay, adam_weight_decay=decay)
    variables = [keras.Variable(value) for value in START]
    for gradients in GRADIENTS:
        theirs.apply([ops.convert_to_tensor(gradient) for gradient in gradients], variables)
    for ours, variable in zip(steps(Muon(CHOSEN, AdamW(weight_decay=decay))), variables, strict=True):
        np.testing.assert_allclose(ours, ops.convert_to_numpy(variable.value), rtol=1e-4, atol=1e-5)


def test_a_kernel_is_a_matrix_with_a_column_for_each_output():
    kernel, matrix = normal(3, 3, 4, 8), normal(36, 8)
    gradient = normal(36, 8)
    muon = Muon((True,), AdamW(weight_decay=0.0))
    [of_kernel] = steps(muon, [kernel], [[gradient.reshape(3, 3, 4, 8)]])
    [of_matrix] = steps(muon, [matrix], [[gradient]])
    np.testing.assert_allclose((of_kernel - kernel).reshape(36, 8), of_matrix - matrix, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64), (16, 100), (3, 3, 8, 24)])
def test_steps_are_of_the_size_of_adamws(shape):
    [moved] = steps(Muon((True,), AdamW(weight_decay=0.0)), [np.zeros(shape, np.float32)], [[normal(*shape)]])
    assert np.sqrt(np.mean(moved**2)) == pytest.approx(0.2 * 0.01, rel=0.2)


def test_the_decay_is_scaled_by_the_learning_rate_unless_told_otherwise():
    nothing = [[np.zeros((4, 4), np.float32)]]
    start = [normal(4, 4)]
    [scaled] = steps(Muon((True,), AdamW(weight_decay=0.5)), start, nothing)
    [unscaled] = steps(Muon((True,), AdamW(weight_decay=0.5, scale_decay=False)), start, nothing)
    np.testing.assert_allclose(scaled, start[0] * (1 - 0.005), rtol=1e-5)
    np.testing.assert_allclose(unscaled, start[0] * 0.5, rtol=1e-5)


def test_the_pixels_and_the_classes_are_left_to_adamw():
    config = PRESETS["flowers64-patch"].network
    network = build_network(config, 64, seed=None)
    shapes = [tuple(variable.shape) for variable in network.trainable_variables]
    chosen = hidden_matrices(network)
    left = {shape for shape, is_chosen in zip(shapes, chosen, strict=True) if not is_chosen and len(shape) > 1}
    assert left == {(2, 2, 3, config.widths[0]), (1, 1, config.widths[0], 12), (102, 4 * config.widths[0])}
    assert all(len(shape) > 1 for shape, is_chosen in zip(shapes, chosen, strict=True) if is_chosen)
    weights = [np.prod(shape) for shape in shapes]
    assert sum(np.multiply(weights, chosen)) > 0.98 * sum(weights)
