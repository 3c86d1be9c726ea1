"""The model's own tests once more, on the backend that this run of the tests does not use, and both on one bundle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from model.bundle import load_bundle
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle

ROOT = Path(__file__).parents[2]
OTHER = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
NO_BACKEND = ("budget", "checkpoint", "dataset", "noise", "normaliser", "order", "pictures", "train_command")
"""Tests of what never touches it; new ones are run until they are named here."""
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


def run_on_the_other(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": OTHER},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(900)
def test_the_model_passes_its_tests_on_the_other_backend():
    ignored = [f"--ignore=tests/unit/model/test_{name}.py" for name in NO_BACKEND]
    run = run_on_the_other("-m", "pytest", "-q", "tests/unit/model", *ignored)
    assert run.returncode == 0, run.stdout[-5000:]
    assert " passed" in run.stdout


def test_both_backends_make_the_same_flowers_of_a_bundle(tmp_path):
    path, pixels = make_tiny_bundle(tmp_path / "tiny.safetensors"), tmp_path / "there.npy"
    run = run_on_the_other("-c", SAMPLE, str(path), str(pixels), json.dumps(SEEDS), str(STEPS))
    assert run.returncode == 0, run.stderr[-3000:]
    bundle = load_bundle(path)
    assert json.loads(run.stdout) == json.loads(json.dumps(bundle.description()))
    here, there = (images.astype(int) for images in (Sampler(bundle).sample(SEEDS, STEPS), np.load(pixels)))
    assert here.std() > 10.0
    assert np.abs(here - there).max() <= 1
