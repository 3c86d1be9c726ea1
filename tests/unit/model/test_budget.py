"""How stages and learning rate follow from what is used of a run."""

import dataclasses

import pytest

from model.budget import Budget
from model.config import PRESETS, Stage

CONFIG = dataclasses.replace(
    PRESETS["flowers64"], stages=(Stage(32, 0.6), Stage(64, 0.4)), warmup_steps=10, decay_share=0.25
)
STEPS = Budget(CONFIG, 1000)
MINUTES = Budget(dataclasses.replace(CONFIG, minutes=2.0), 1000)


def test_steps_count_where_no_time_is_given():
    assert STEPS.fraction(250, 1e9) == 0.25
    assert STEPS.fraction(2000, 0.0) == 1.0


def test_time_counts_where_it_is_given():
    assert MINUTES.fraction(10**9, 30.0) == 0.25
    assert MINUTES.fraction(0, 1000.0) == 1.0


@pytest.mark.parametrize(("fraction", "size"), [(0.0, 32), (0.59, 32), (0.6, 64), (1.0, 64)])
def test_stages_come_in_turn(fraction, size):
    assert STEPS.image_size(fraction) == size


def test_the_learning_rate_warms_up_holds_and_goes_to_zero():
    assert STEPS.learning_rate(0, 0.0) == pytest.approx(1e-4)
    assert STEPS.learning_rate(9, 0.0) == pytest.approx(1e-3)
    assert STEPS.learning_rate(500, 0.5) == pytest.approx(1e-3)
    assert STEPS.learning_rate(500, 0.875) == pytest.approx(5e-4)
    assert STEPS.learning_rate(500, 1.0) == 0.0


def test_the_reference_keeps_its_learning_rate():
    budget = Budget(PRESETS["flowers64"], 1000)
    assert {budget.learning_rate(step, step / 1000) for step in (0, 1, 500, 1000)} == {1e-3}
