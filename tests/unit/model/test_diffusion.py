"""One step's mathematics, with networks that know the truth."""

import numpy as np
import pytest
from keras import ops

from model.diffusion import ddim_step, denoise, mix
from model.schedule import Rates, Schedule

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(3, 4, 4, 3)).astype(np.float32)
NOISES = RANDOM.normal(size=(3, 4, 4, 3)).astype(np.float32)


def rates_of(signal):
    signal = np.asarray(signal, np.float32).reshape(-1, 1, 1, 1)
    return Rates(signal, np.sqrt(1.0 - signal**2))


def test_denoise_undoes_mix():
    rates = rates_of([0.9, 0.5, 0.1])
    noises, images = denoise(lambda _: NOISES, mix(IMAGES, NOISES, rates), rates)
    np.testing.assert_array_equal(noises, NOISES)
    np.testing.assert_allclose(images, IMAGES, atol=1e-5)


def test_the_network_is_told_the_variance_of_the_noise():
    seen = []

    def network(inputs):
        seen.append(inputs[1])
        return NOISES

    rates = rates_of([0.9, 0.5, 0.1])
    denoise(network, IMAGES, rates)
    np.testing.assert_allclose(seen[0], rates.noise**2)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_whoever_knows_the_noise_finds_the_image(steps):
    step_rates = Schedule().step_rates(steps)
    noisy = mix(IMAGES, NOISES, Rates(step_rates[0, 0], step_rates[0, 1]))
    for signal, noise, next_signal, next_noise in step_rates:
        noisy, images = ddim_step(lambda _: NOISES, noisy, Rates(signal, noise), Rates(next_signal, next_noise))
    np.testing.assert_allclose(images, IMAGES, atol=2e-4)
    np.testing.assert_allclose(noisy, mix(IMAGES, NOISES, Rates(step_rates[-1, 2], step_rates[-1, 3])), atol=2e-4)


def test_rows_do_not_influence_each_other():
    def network(inputs):
        return ops.tanh(inputs[0] * inputs[1])

    noisy, rates, after = NOISES, rates_of([0.9, 0.5, 0.1]), rates_of([0.95, 0.6, 0.3])
    together = [ops.convert_to_numpy(part) for part in ddim_step(network, noisy, rates, after)]
    for row in range(3):
        alone = ddim_step(
            network,
            noisy[row : row + 1],
            Rates(*(rate[row : row + 1] for rate in rates)),
            Rates(*(rate[row : row + 1] for rate in after)),
        )
        for part, whole in zip(alone, together, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(part)[0], whole[row])
