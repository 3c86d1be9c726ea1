"""Guidance: between no class and the class, beyond it, and otherwise where there is hardly any signal."""

import math

import numpy as np
import pytest
from keras import ops

from model.diffusion import images_of, mix, output_for
from model.guidance import Guidance, guided
from model.schedule import Rates

SIGNAL = np.float32([0.05, 0.5]).reshape(2, 1, 1, 1)
RATES = Rates(SIGNAL, np.sqrt(1 - SIGNAL**2))
IMAGES = np.zeros((2, 1, 1, 3), np.float32)


def predicted(guidance, calls=None):
    """By a network that says 1 for no class and 3 for the class: [2] rows, of the signal rates above."""

    def network(inputs):
        images, _, class_weights = inputs
        if calls is not None:
            calls.append(class_weights)
        return images + 1.0 + 2.0 * class_weights.sum(axis=1).reshape(-1, 1, 1, 1)

    class_weights = np.float32([[1.0, 0.0], [0.25, 0.75]])
    return guided(network, class_weights, RATES, guidance, "noise", np)([IMAGES, SIGNAL])[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0), (2.5, 6.0)])
def test_a_weight_goes_from_no_class_to_the_class_and_beyond(weight, expected):
    assert predicted(Guidance(weight)) == [expected, expected]


def test_another_weight_holds_where_there_is_hardly_any_signal():
    assert predicted(Guidance(2.5, early_weight=0.5, early_until=0.1)) == [2.0, 6.0]
    assert predicted(Guidance(1.0, early_weight=2.5, early_until=0.1)) == [6.0, 3.0]


def test_without_any_the_network_is_called_once():
    for guidance, times in (
        (Guidance(), 1),
        (Guidance(1.0, 5.0, 0.0), 1),
        (Guidance(1.5), 2),
        (Guidance(1.0, 0.0, 0.1), 2),
        (Guidance(1.0, coarse_weight=1.0, coarse_cells=1), 1),
    ):
        calls = []
        predicted(guidance, calls)
        assert len(calls) == times


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_no_class_is_told_more_noise_where_it_is_overstated(prediction):
    """By a network that finds an image of its own for every noise variance that it is told: the variance itself."""
    signal = np.float64([0.3, 0.6, 0.8, 0.9, 1.0]).reshape(-1, 1, 1, 1)
    rates = Rates(signal, np.sqrt(1 - signal**2))
    noisy_images = np.random.default_rng(0).normal(size=(5, 2, 2, 3))
    told = []

    def network(inputs):
        images, variances, _class_weights = inputs
        told.append(variances[:, 0, 0, 0])
        as_told = Rates(np.sqrt(1 - variances), np.sqrt(variances))
        with np.errstate(divide="ignore", invalid="ignore"):
            return output_for(np.broadcast_to(variances, images.shape), images, as_told, prediction)

    guidance = Guidance(3.0, overstated_noise=1.5, overstated_from=0.6, overstated_until=0.9)
    classes = np.ones((5, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        output = guided(network, classes, rates, guidance, prediction, np)([noisy_images, rates.noise**2])
    true = rates.noise[:, 0, 0, 0] ** 2
    ratio = (1.5 * rates.noise / rates.signal)[:, 0, 0, 0] ** 2
    expected = np.where([False, True, True, False, False], ratio / (1 + ratio), true)
    np.testing.assert_array_equal(told[0], true)
    np.testing.assert_allclose(told[1], expected, rtol=1e-12)
    # The image is three times as far from that of the overstated noise as the image of the true noise is.
    images = images_of(output, noisy_images, rates, prediction)[:4, 0, 0, 0]
    np.testing.assert_allclose(images, (expected + 3.0 * (true - expected))[:4], rtol=1e-9)


def test_a_row_without_noise_stands_still_beside_overstated_ones():
    """As the rows of empty slots do, for which what a network predicts must not become something that is no number."""
    signal = np.float32([0.7, 1.0]).reshape(2, 1, 1, 1)
    rates = Rates(signal, np.sqrt(1 - signal**2))
    guidance = Guidance(2.0, overstated_noise=1.2)
    for prediction in ("noise", "velocity"):
        with np.errstate(divide="ignore", invalid="ignore"):
            output = guided(lambda inputs: inputs[0] + inputs[1], np.ones((2, 1)), rates, guidance, prediction, np)(
                [np.ones((2, 1, 1, 3), np.float32), rates.noise**2]
            )
        assert np.isfinite(output).all()


@pytest.mark.parametrize("prediction", ["noise", "velocity"])
def test_outputs_and_images_are_inverse(prediction):
    random = np.random.default_rng(1)
    images, noises = random.normal(size=(2, 2, 4, 4, 3))
    noisy_images = mix(images, noises, RATES)
    output = output_for(images, noisy_images, RATES, prediction)
    expected = noises if prediction == "noise" else RATES.signal * noises - RATES.noise * images
    np.testing.assert_allclose(output, expected, atol=1e-5)
    np.testing.assert_allclose(images_of(output, noisy_images, RATES, prediction), images, atol=1e-5)


def test_what_is_coarse_has_a_weight_of_its_own():
    """By a network that finds a class's stripes, on a ground of its own, and nothing for no class."""
    stripes = np.broadcast_to(np.float32([2.0, 4.0]).reshape(1, 1, 2, 1), (2, 2, 2, 3))

    def network(inputs):
        return inputs[0] + stripes * ops.reshape(inputs[2], (-1, 1, 1, 1))

    guidance = Guidance(5.0, early_weight=0.5, early_until=0.1, coarse_weight=2.0, coarse_cells=1)
    images = np.zeros((2, 2, 2, 3), np.float32)
    output = guided(network, np.ones((2, 1), np.float32), RATES, guidance, "noise", ops)([images, RATES.noise**2])
    early, later = ops.convert_to_numpy(output)
    np.testing.assert_allclose(early, 0.5 * stripes[0], rtol=1e-6)
    # The ground is at 3, from which the stripes are 1 away.
    np.testing.assert_allclose(later, 2.0 * 3.0 + 5.0 * (stripes[0] - 3.0), rtol=1e-6)


def test_a_coarse_weight_like_the_rest_is_none():
    random = np.random.default_rng(2)
    of_class, images = random.normal(size=(2, 2, 8, 8, 3)).astype(np.float32)

    def network(inputs):
        return inputs[0] + of_class * ops.reshape(inputs[2], (-1, 1, 1, 1))

    outputs = [
        guided(network, np.ones((2, 1), np.float32), RATES, guidance, "velocity", ops)([images, RATES.noise**2])
        for guidance in (Guidance(3.0), Guidance(3.0, coarse_weight=3.0))
    ]
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, outputs))


def test_cells_must_divide_the_side():
    Guidance(3.0, coarse_cells=5).check_side(64)
    Guidance(3.0, coarse_weight=2.0, coarse_cells=16).check_side(64)
    with pytest.raises(ValueError, match="coarse_cells must divide the side of the images, 64 pixels, got 5"):
        Guidance(3.0, coarse_weight=2.0, coarse_cells=5).check_side(64)


def test_a_hash_does_not_tell_of_what_changes_nothing():
    for guidance in (Guidance(4.0), Guidance(4.0, overstated_from=0.3), Guidance(4.0, 1.0, 0.0, 1.2, 0.5, 0.5)):
        assert not guidance.overstates
        assert list(guidance.to_json()) == ["weight", "early_weight", "early_until"]
    assert list(Guidance(4.0, coarse_weight=4.0).to_json())[3:] == ["coarse_weight", "coarse_cells"]


def test_text_and_json_are_read():
    assert Guidance.parse("6") == Guidance(6.0)
    assert Guidance.parse("6,2.5:0.1") == Guidance(6.0, early_weight=2.5, early_until=0.1)
    assert Guidance.parse("6,2.5:0.1,1.1:0.6:0.9") == Guidance(6.0, 2.5, 0.1, 1.1, 0.6, 0.9)
    assert Guidance.parse("6,2.5:0.1,1.1:0.6:0.9,2:16") == Guidance(6.0, 2.5, 0.1, 1.1, 0.6, 0.9, 2.0, 16)
    for guidance in (Guidance(3.0, 2.0, 0.2), Guidance(3.0, 2.0, 0.2, 1.3, 0.4, 0.8), Guidance(3.0, coarse_weight=1.5)):
        assert Guidance(**guidance.to_json()) == guidance


@pytest.mark.parametrize(
    "text",
    [
        "",
        "much",
        "6,2.5",
        "6,2.5:",
        "6,:0.1",
        "-1",
        "nan",
        "6,2.5:2",
        "6,inf:0.1",
        "6,2:0.1:3",
        "6,2:0.1,1.1",
        "6,2:0.1,0:0.6:0.9",
        "6,2:0.1,1.1:0.6:9",
        "6,2:0.1,1.1:0.6:0.9,1",
        "6,2:0.1,1.1:0.6:0.9,-1:8",
        "6,2:0.1,1.1:0.6:0.9,1:0",
        "6,2:0.1,1.1:0.6:0.9,1:2.5",
        "6,2:0.1,1.1:0.6:0.9,1:8,1",
    ],
)
def test_what_is_no_guidance_is_refused(text):
    with pytest.raises(ValueError, match="guidance"):
        Guidance.parse(text)


@pytest.mark.parametrize("values", [(-1.0, 1.0, 0.0), (math.nan, 1.0, 0.0), (1.0, math.inf, 0.0), (1.0, 1.0, 1.5)])
def test_numbers_that_are_none_are_refused(values):
    with pytest.raises(ValueError, match="guidance"):
        Guidance(*values)
