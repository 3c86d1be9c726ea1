"""A word to those who are about to train in bfloat16 on a processor that cannot do it well."""

import dataclasses
import math

import pytest

from model import slow_precision
from model.config import PRESETS
from model.slow_precision import bfloat16_slowdown, tell_of_slow_precision

IN_BFLOAT16 = dataclasses.replace(PRESETS["tiny"], precision="mixed_bfloat16")


def said(config, slowdown):
    words = []
    tell_of_slow_precision(config, words.append, slowdown)
    return words


@pytest.fixture
def no_accelerator(monkeypatch):
    monkeypatch.setattr(slow_precision, "accelerated", lambda: False)


def test_a_slow_processor_is_told_of_with_what_to_do(no_accelerator):
    (words,) = said(IN_BFLOAT16, lambda: 11.2)
    assert words.startswith("precision: mixed_bfloat16 takes this processor 11 times as long as float32")
    assert "--precision float32" in words


@pytest.mark.parametrize("slowdown", [0.5, 1.0, 1.9])
def test_one_that_is_not_is_not(no_accelerator, slowdown):
    assert said(IN_BFLOAT16, lambda: slowdown) == []


def test_nothing_is_tried_where_it_does_not_matter(monkeypatch):
    assert said(PRESETS["tiny"], lambda: pytest.fail("tried")) == []
    monkeypatch.setattr(slow_precision, "accelerated", lambda: True)
    assert said(IN_BFLOAT16, lambda: pytest.fail("tried")) == []


def test_this_processor_can_be_tried():
    slowdown = bfloat16_slowdown()
    assert math.isfinite(slowdown)
    assert slowdown > 0.0
