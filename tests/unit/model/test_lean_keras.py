import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.lean_keras import _backend_wanted

ROOT = Path(__file__).parents[3]

LEAVE_OUT_THEN_IMPORT = """
import sys
from model.lean_keras import keras
print(keras.backend.backend(), [name for name in ("jax", "matplotlib") if name in sys.modules])
import jax, matplotlib.pyplot
print(jax.numpy.ones(2).sum())
"""


@pytest.mark.parametrize(
    ("wanted", "printed"), [("tensorflow", "tensorflow []"), ("jax", "jax ['jax']")], ids=["TensorFlow", "JAX"]
)
def test_what_is_left_out_is_no_backend_that_is_wanted_and_can_be_imported_later(tmp_path, wanted, printed):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": wanted}))
    environ = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    run = subprocess.run(
        [sys.executable, "-c", LEAVE_OUT_THEN_IMPORT],
        cwd=ROOT,
        env=environ | {"KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines() == [printed, "2.0"]


@pytest.mark.parametrize(
    ("variable", "file", "wanted"),
    [
        ("jax", '{"backend": "tensorflow"}', "jax"),
        ("tensorflow", '{"backend": "jax"}', "tensorflow"),
        (None, '{"backend": "jax"}', "jax"),
        (None, "{}", "tensorflow"),
        (None, "no JSON", "tensorflow"),
        (None, None, "tensorflow"),
    ],
)
def test_the_variable_counts_more_than_the_file_and_without_both_it_is_tensorflow(
    monkeypatch, tmp_path, variable, file, wanted
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable is not None:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if file is not None:
        (tmp_path / "keras.json").write_text(file)
    assert _backend_wanted() == wanted
