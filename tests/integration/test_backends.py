"""The model's own tests once more, on the backend that this run of the tests does not use, and both on one bundle."""

import json

import numpy as np
import pytest

from model.bundle import load_bundle
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle
from tests.integration.test_backends_training import TRAINING
from tests.other_backend import assert_tests_pass_there, run_on_the_other_backend

NO_BACKEND = (
    "budget",
    "checkpoint",
    "dataset",
    "lean_keras",
    "noise",
    "normaliser",
    "order",
    "pictures",
    "train_command",
)
"""Tests of what never touches it, or names it itself; new ones are run until they are named here."""
SEEDS, STEPS = [0, 7, 2**53 - 1], 20

SAMPLE = """
import json, sys
import numpy as np
from model.bundle import load_bundle
from model.sampling import Sampler

bundle = load_bundle(sys.argv[1])
np.save(sys.argv[2], Sampler(bundle).sample(json.loads(sys.argv[3]), int(sys.argv[4])))
print(json.dumps(bundle.description()))
"""


@pytest.mark.timeout(900)
def test_the_model_passes_its_tests_on_the_other_backend():
    ignored = [f"--ignore=tests/unit/model/test_{name}.py" for name in (*NO_BACKEND, *TRAINING)]
    assert_tests_pass_there("tests/unit/model", *ignored)


def test_both_backends_make_the_same_flowers_of_a_bundle(tmp_path):
    path, pixels = make_tiny_bundle(tmp_path / "tiny.safetensors"), tmp_path / "there.npy"
    run = run_on_the_other_backend("-c", SAMPLE, str(path), str(pixels), json.dumps(SEEDS), str(STEPS))
    assert run.returncode == 0, run.stderr[-3000:]
    bundle = load_bundle(path)
    assert json.loads(run.stdout) == json.loads(json.dumps(bundle.description()))
    here, there = (images.astype(int) for images in (Sampler(bundle).sample(SEEDS, STEPS), np.load(pixels)))
    assert here.std() > 10.0
    assert np.abs(here - there).max() <= 1
