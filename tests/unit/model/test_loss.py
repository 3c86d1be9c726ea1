"""What is made small in training, against its formulas."""

import numpy as np
import pytest
from keras import ops

from model.diffusion import denoise, mix
from model.loss import error, min_snr_weights, target
from model.schedule import Rates

RANDOM = np.random.default_rng(0)
IMAGES, NOISES, OFF = RANDOM.normal(size=(3, 4, 2, 2, 3))
ANGLES = np.array([0.3, 0.7, 1.2, 1.55]).reshape(-1, 1, 1, 1)
RATES = Rates(np.cos(ANGLES), np.sin(ANGLES))


def test_errors_of_each_kind():
    differences = np.array([-3.0, -0.5, 0.0, 1.0, 2.0])
    for kind, expected in (
        ("mae", [3.0, 0.5, 0.0, 1.0, 2.0]),
        ("mse", [9.0, 0.25, 0.0, 1.0, 4.0]),
        ("huber", [2.5, 0.125, 0.0, 0.5, 1.5]),
    ):
        np.testing.assert_allclose(ops.convert_to_numpy(error(kind, ops.convert_to_tensor(differences))), expected)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_a_network_that_hits_the_target_is_understood(prediction):
    hit = target(prediction, IMAGES, NOISES, RATES)
    noises, images = denoise(lambda _: hit, mix(IMAGES, NOISES, RATES), RATES, prediction)
    np.testing.assert_allclose(noises, NOISES, atol=1e-9)
    np.testing.assert_allclose(images, IMAGES, atol=1e-9)


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
@pytest.mark.parametrize("most", [0.5, 5.0])
def test_an_error_counts_as_much_as_it_moves_the_image(prediction, most):
    """Squared and weighted, it is min(SNR, most) times the squared error of the predicted image."""
    off = target(prediction, IMAGES, NOISES, RATES) + OFF
    _, images = denoise(lambda _: off, mix(IMAGES, NOISES, RATES), RATES, prediction)
    weights = ops.convert_to_numpy(min_snr_weights(prediction, Rates(*map(ops.convert_to_tensor, RATES)), most))
    snr = (RATES.signal / RATES.noise) ** 2
    np.testing.assert_allclose(weights * OFF**2, np.minimum(snr, most) * (images - IMAGES) ** 2, rtol=1e-5)
