"""The tests of training on the other backend: a file of its own, so that they run beside the others there."""

import pytest

from tests.other_backend import assert_tests_pass_there

TRAINING = ("adamw", "grown_weights", "loss", "muon", "trainer", "training_step")


@pytest.mark.timeout(900)
def test_training_passes_its_tests_on_the_other_backend():
    assert_tests_pass_there(*(f"tests/unit/model/test_{name}.py" for name in TRAINING))
