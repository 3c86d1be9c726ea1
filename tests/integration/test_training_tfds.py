"""Training on Oxford Flowers 102 through TFDS, whose download is replaced by painted flowers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

ROOT = Path(__file__).parents[2]

pytest.importorskip("tensorflow_datasets", reason="needs the extra `train`")

TRAIN = """
import sys
import numpy as np, tensorflow as tf, tensorflow_datasets as tfds
from model.train import main
from tests.photos import paint_flower

asked = []

def as_dataset(builder, split, **_):
    asked.append((builder.name, split))
    first = 0 if split.startswith("train[:80%]") else 40
    images = np.stack([np.asarray(paint_flower(seed, 24, 20)) for seed in range(first, first + 24)])
    return tf.data.Dataset.from_tensor_slices({"image": images, "label": np.arange(24) % 3})

with tfds.testing.mock_data(as_dataset_fn=as_dataset):
    code = main(["--preset", "tiny", "--epochs", "1", "--kid", "off", "--data", "tfds", "--out", sys.argv[1]])
print(asked)
sys.exit(code)
"""

OFFLINE = """
import sys
import tensorflow_datasets as tfds
from model.train import main

def no_network(*_, **__):
    raise tfds.download.DownloadError("Failed to get url https://example.org/102flowers.tgz. HTTP code: 404.")

tfds.load = no_network
sys.exit(main(["--preset", "tiny", "--data", "tfds", "--out", sys.argv[1]]))
"""


def run(code: str, out: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_a_run_on_tfds_takes_80_percent_of_each_split_and_tells_so(tmp_path):
    finished = run(TRAIN, tmp_path)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.splitlines()[-1] == str(
        [
            ("oxford_flowers102", "train[:80%]+validation[:80%]+test[:80%]"),
            ("oxford_flowers102", "train[80%:]+validation[80%:]+test[80%:]"),
        ]
    )
    with safe_open(tmp_path / "bundle.safetensors", "numpy") as file:
        data = json.loads(file.metadata()["card"])["training_data"]
    assert (data["source"], data["train_photos"], data["validation_photos"]) == ("tfds:oxford_flowers102", 24, 24)


def test_a_download_that_fails_is_told_with_what_to_do(tmp_path):
    failed = run(OFFLINE, tmp_path)
    assert failed.returncode == 1, failed.stderr[-3000:]
    assert "HTTP code: 404" in failed.stderr
    assert "folder of photos" in failed.stderr
    assert "Traceback" not in failed.stderr
