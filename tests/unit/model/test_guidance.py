"""Guidance: between no class and the class, beyond it, and otherwise where there is hardly any signal."""

import math

import numpy as np
import pytest

from model.guidance import Guidance, guided

SIGNAL = np.float32([0.05, 0.5]).reshape(2, 1, 1, 1)
IMAGES = np.zeros((2, 1, 1, 3), np.float32)


def predicted(guidance, calls=None):
    """By a network that says 1 for no class and 3 for the class: [2] rows, of the signal rates above."""

    def network(inputs):
        images, _, class_weights = inputs
        if calls is not None:
            calls.append(class_weights)
        return images + 1.0 + 2.0 * class_weights.sum(axis=1).reshape(-1, 1, 1, 1)

    class_weights = np.float32([[1.0, 0.0], [0.25, 0.75]])
    return guided(network, class_weights, SIGNAL, guidance, np)([IMAGES, SIGNAL])[:, 0, 0, 0].tolist()


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
    ):
        calls = []
        predicted(guidance, calls)
        assert len(calls) == times


def test_text_and_json_are_read():
    assert Guidance.parse("6") == Guidance(6.0)
    assert Guidance.parse("6,2.5:0.1") == Guidance(6.0, early_weight=2.5, early_until=0.1)
    guidance = Guidance(3.0, 2.0, 0.2)
    assert Guidance(**guidance.to_json()) == guidance


@pytest.mark.parametrize("text", ["", "much", "6,2.5", "6,2.5:", "6,:0.1", "-1", "nan", "6,2.5:2", "6,inf:0.1"])
def test_what_is_no_guidance_is_refused(text):
    with pytest.raises(ValueError, match="guidance"):
        Guidance.parse(text)


@pytest.mark.parametrize("values", [(-1.0, 1.0, 0.0), (math.nan, 1.0, 0.0), (1.0, math.inf, 0.0), (1.0, 1.0, 1.5)])
def test_numbers_that_are_none_are_refused(values):
    with pytest.raises(ValueError, match="guidance"):
        Guidance(*values)
