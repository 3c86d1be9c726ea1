"""Python processes on the backend that this run of the tests does not use."""

import os
import subprocess
import sys
from pathlib import Path

import keras

ROOT = Path(__file__).parents[1]
OTHER = "jax" if keras.backend.backend() == "tensorflow" else "tensorflow"


def run_on_the_other_backend(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "KERAS_BACKEND": OTHER, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_tests_pass_there(*arguments: str, **variables: str) -> None:
    """Run pytest there; at least one test must have passed and none failed."""
    run = run_on_the_other_backend("-m", "pytest", "-q", *arguments, **variables)
    assert run.returncode == 0, run.stdout[-5000:]
    assert " passed" in run.stdout
