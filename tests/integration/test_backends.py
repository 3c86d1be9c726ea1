"""The model's own tests once more, on the backend that this run of the tests does not use."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).parents[2]
FILES = ("adamw", "bundle", "diffusion", "network", "sampling", "schedule", "trainer")
"""Those that touch the backend; but for the full-size network, whose layers JAX compiles one by one."""


@pytest.mark.timeout(900)
def test_the_model_passes_its_tests_on_the_other_backend():
    other = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-k", "not reference and not without_the_training_code"),
            *(f"tests/unit/model/test_{name}.py" for name in FILES),
        ],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": other},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:]
    assert " passed" in run.stdout
