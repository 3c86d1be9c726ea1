"""One step's mathematics, with networks that know the truth."""

import numpy as np
import pytest
from keras import ops

from model.diffusion import ddim_step, denoise, mix
from model.schedule import Rates, Schedule

ZERO = np.float32(0.0)

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


@pytest.mark.parametrize("sampler", ["ddim", "multistep"])
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_whoever_knows_the_noise_finds_the_image(steps, sampler):
    step_rates = Schedule().step_rates(steps, sampler)
    noisy = mix(IMAGES, NOISES, Rates(step_rates[0, 0], step_rates[0, 1]))
    images = ZERO
    for signal, noise, next_signal, next_noise, correction in step_rates:
        noisy, images = ddim_step(
            lambda _: NOISES, noisy, images, Rates(signal, noise), Rates(next_signal, next_noise), correction
        )
    np.testing.assert_allclose(images, IMAGES, atol=2e-4)
    np.testing.assert_allclose(noisy, mix(IMAGES, NOISES, Rates(step_rates[-1, 2], step_rates[-1, 3])), atol=2e-4)


def end_of_a_gaussian(steps, sampler, mean=0.4, deviation=0.7):
    """The error at the end of a trajectory whose true course is known, with the best network there can be.

    Of images whose pixels are all drawn from N(mean, deviation^2), noisy pixels move with their distribution: measured
    from its mean in its deviation, each keeps its place (Song et al. 2021, score SDE, eq. 13, solved for a Gaussian).
    """

    def place(noisy, rates):
        return (noisy - rates.signal * mean) / np.sqrt((rates.signal * deviation) ** 2 + rates.noise**2)

    def network(inputs):
        noisy, variance = inputs
        spread = (1.0 - variance) * deviation**2 + variance
        return np.sqrt(variance) * (noisy - np.sqrt(1.0 - variance) * mean) / spread

    noisy, images = NOISES.astype(np.float64), ZERO
    begin = place(noisy, Rates(*Schedule().step_rates(steps)[0, :2].astype(np.float64)))
    for row in Schedule().step_rates(steps, sampler).astype(np.float64):
        after = Rates(row[2], row[3])
        noisy, images = ddim_step(network, noisy, images, Rates(row[0], row[1]), after, row[4])
    return np.abs(place(noisy, after) - begin).mean()


def test_twice_the_steps_halve_the_error_of_ddim_and_quarter_that_of_multistep():
    ddim, multistep = ([end_of_a_gaussian(steps, kind) for steps in (50, 100)] for kind in ("ddim", "multistep"))
    assert ddim[0] / ddim[1] == pytest.approx(2.0, rel=0.1)
    assert multistep[0] / multistep[1] == pytest.approx(4.0, rel=0.15)


@pytest.mark.parametrize("steps", [4, 5, 6, 8, 20])
def test_multistep_comes_nearer_to_the_truth_than_ddim(steps):
    assert end_of_a_gaussian(steps, "multistep") < 0.7 * end_of_a_gaussian(steps, "ddim")


def test_a_correction_adds_its_share_of_the_change_and_none_adds_nothing():
    rates, after = rates_of([0.9, 0.5, 0.1]), rates_of([0.95, 0.6, 0.3])
    noisy = mix(IMAGES, NOISES, rates)

    def step(correction):
        return ddim_step(lambda _: NOISES, noisy, IMAGES / 2, rates, after, np.float32(correction))

    plain, images = step(0.0)
    np.testing.assert_array_equal(plain, mix(images, NOISES, after))
    corrected, same_images = step(0.25)
    np.testing.assert_array_equal(images, same_images)
    np.testing.assert_allclose(corrected - plain, 0.25 * (images - IMAGES / 2), atol=1e-5)


def test_rows_do_not_influence_each_other():
    def network(inputs):
        return ops.tanh(inputs[0] * inputs[1])

    noisy, rates, after = NOISES, rates_of([0.9, 0.5, 0.1]), rates_of([0.95, 0.6, 0.3])
    correction = np.array([0.0, 0.5, -0.1], np.float32).reshape(-1, 1, 1, 1)
    together = [ops.convert_to_numpy(part) for part in ddim_step(network, noisy, IMAGES, rates, after, correction)]
    for row in range(3):
        alone = ddim_step(
            network,
            noisy[row : row + 1],
            IMAGES[row : row + 1],
            Rates(*(rate[row : row + 1] for rate in rates)),
            Rates(*(rate[row : row + 1] for rate in after)),
            correction[row : row + 1],
        )
        for part, whole in zip(alone, together, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(part)[0], whole[row])
