"""The tests of training on the other backend: a file of its own, so that they run beside the others there."""

import pytest

from tests.other_backend import assert_tests_pass_there

TRAINING = ("adamw", "grown_weights", "loss", "muon", "trainer", "training_step")


@pytest.mark.timeout(900)
def test_training_passes_its_tests_on_the_other_backend():
    # XLA spends most of the time on compiling steps that are taken a few times: it is to optimise them less.
    flags = {"XLA_FLAGS": "--xla_backend_optimization_level=1"}
    assert_tests_pass_there(*(f"tests/unit/model/test_{name}.py" for name in TRAINING), **flags)
