"""AdamW, held to Keras' own."""

import keras
import numpy as np
import pytest
from keras import ops

from model.adamw import AdamW

RANDOM = np.random.default_rng(0)
START = [RANDOM.normal(size=(3, 4)).astype(np.float32), RANDOM.normal(size=(4,)).astype(np.float32)]
GRADIENTS = [[RANDOM.normal(size=value.shape).astype(np.float32) for value in START] for _ in range(20)]


def steps(optimizer, rate=0.01):
    weights = [ops.convert_to_tensor(value) for value in START]
    state = optimizer.initial_state(weights)
    for gradients in GRADIENTS:
        weights, state = optimizer.apply(weights, gradients, state, rate)
    return [ops.convert_to_numpy(weight) for weight in weights]


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_steps_as_keras_does(decay):
    theirs = keras.optimizers.AdamW(learning_rate=0.01, weight_decay=decay)
    variables = [keras.Variable(value) for value in START]
    for gradients in GRADIENTS:
        theirs.apply([ops.convert_to_tensor(gradient) for gradient in gradients], variables)
    for ours, variable in zip(steps(AdamW(weight_decay=decay)), variables, strict=True):
        np.testing.assert_allclose(ours, ops.convert_to_numpy(variable.value), rtol=1e-5, atol=1e-6)


def test_an_unscaled_decay_is_one_scaled_by_a_rate_of_one():
    scaled = steps(AdamW(weight_decay=0.1 / 0.01))
    unscaled = steps(AdamW(weight_decay=0.1, scale_decay=False))
    for one, other in zip(scaled, unscaled, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_nothing_moves_without_gradient_and_decay():
    weights = [ops.convert_to_tensor(value) for value in START]
    optimizer = AdamW(weight_decay=0.0)
    zeros = [np.zeros_like(value) for value in START]
    moved, _ = optimizer.apply(weights, zeros, optimizer.initial_state(weights), 0.01)
    for before, after in zip(START, moved, strict=True):
        np.testing.assert_array_equal(before, ops.convert_to_numpy(after))
