"""Training as people run it: a process that may be killed at any moment."""

import csv
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from model.checkpoint import load_checkpoint
from tests.photos import paint_folder
from tests.processes import poll

ROOT = Path(__file__).parents[2]
OPTIONS = ("--preset", "tiny", "--epochs", "4", "--checkpoint-seconds", "0", "--kid", "off")
PHOTOS = 400  # 312 to train on: 39 steps an epoch

pytestmark = pytest.mark.timeout(300)  # each run imports TensorFlow


class Training:
    """Runs `bouquet train` in one folder, again and again."""

    def __init__(self, photos: Path, out: Path) -> None:
        self.photos, self.out = photos, out

    def start(self, *options: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "app", "train", "--data", str(self.photos), "--out", str(self.out), *options],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str) -> tuple[int, str]:
        process = self.start(*options)
        output, _ = process.communicate(timeout=200)
        return process.returncode, output

    def end_at(self, step: int, number: signal.Signals) -> tuple[int, str]:
        """Signal a run once it has saved that step."""
        process = self.start(*OPTIONS)
        poll(lambda: self.step >= step or process.poll() is not None, f"step {step}", 120.0)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    @property
    def checkpoints(self) -> list[Path]:
        return sorted((self.out / "checkpoints").glob("step-*.safetensors"))

    @property
    def step(self) -> int:
        """Of the newest checkpoint."""
        newest = self.checkpoints[-1:]
        return int(re.findall(r"\d+", newest[0].name)[0]) if newest else 0

    @property
    def content_hash(self) -> str:
        with safe_open(self.out / "bundle.safetensors", "numpy") as file:
            return file.metadata()["content_hash"]

    @property
    def history(self) -> list[dict[str, str]]:
        """The rows of history.csv, without the one column that differs from run to run."""
        with (self.out / "history.csv").open() as file:
            return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return paint_folder(tmp_path_factory.mktemp("photos"), PHOTOS)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """A run that nobody disturbed."""
    training = Training(photos, tmp_path_factory.mktemp("whole"))
    code, output = training.run(*OPTIONS)
    assert code == 0, output
    return training


def test_a_run_leaves_all_there_is_to_see(whole):
    names = {path.relative_to(whole.out).as_posix() for path in whole.out.rglob("*") if path.is_file()}
    wanted = {
        "bundle.safetensors",
        "history.csv",
        "loss.png",
        "model.png",
        "MODEL_CARD.md",
        "options.json",
        "samples.png",
    }
    assert wanted <= names
    assert {f"samples/epoch-{epoch:04d}.png" for epoch in range(1, 5)} <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    assert json.loads((whole.out / "options.json").read_text())["options"]["epochs"] == 4
    losses = [float(row["validation_noise_loss"]) for row in whole.history]
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_killed_damaged_stopped_and_resumed_it_ends_with_the_same_weights(whole, photos, tmp_path):
    training = Training(photos, tmp_path)
    for step in (10, 55, 90):
        code, output = training.end_at(step, signal.SIGKILL)
        assert code == -signal.SIGKILL, output
    newest = training.checkpoints[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    code, output = training.end_at(125, signal.SIGTERM)
    assert code == 130
    assert f"{newest}: damaged" in output
    assert "run the same command again" in output
    assert load_checkpoint(tmp_path / "checkpoints")[0] is not None

    code, output = training.run(*OPTIONS)
    assert code == 0
    assert "going on from step" in output
    assert training.content_hash == whole.content_hash
    assert training.history == whole.history


def test_a_finished_run_has_nothing_to_do(whole):
    before = (whole.out / "bundle.safetensors").stat()
    code, output = whole.run(*OPTIONS)
    assert code == 0, output
    assert (whole.out / "bundle.safetensors").stat() == before


def test_other_options_are_another_run(whole):
    code, output = whole.run(*OPTIONS, "--batch-size", "4", "--flip")
    assert code == 1
    assert re.search(r"holds a run with other batch_size, flip", output)


def test_a_loss_that_explodes_is_told(photos, tmp_path):
    code, output = Training(photos, tmp_path).run(*OPTIONS, "--learning-rate", "1e30")
    assert code == 1
    assert "no longer numbers" in output
    assert "--learning-rate" in output


def test_minutes_end_a_run_with_a_learning_rate_of_zero(photos, tmp_path):
    training = Training(photos, tmp_path)
    code, output = training.run("--preset", "tiny", "--kid", "off", "--minutes", "0.05")
    assert code == 0, output
    assert float(training.history[-1]["learning_rate"]) == 0.0
    assert "decay_share" in (tmp_path / "options.json").read_text()
    before = training.content_hash
    checkpoint, _ = load_checkpoint(tmp_path / "checkpoints")
    more = f"{checkpoint.progress['seconds'] / 60 + 0.05:.2f}"  # the first step, compiled, may have used all and more
    code, output = training.run("--preset", "tiny", "--kid", "off", "--minutes", more)
    assert code == 0, output
    assert training.content_hash != before
    assert f"minutes: 0.05 until now, {float(more)} from here" in output


def test_a_full_disk_is_told_and_training_goes_on_once_there_is_room(whole, photos, tmp_path):
    """A small disk of its own, in memory, that only this test's processes see."""
    mount = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if shutil.which("unshare") is None or subprocess.run([*mount, "mount -t tmpfs none /mnt"], check=False).returncode:
        pytest.skip("may not mount a file system here")
    room = int(2.5 * whole.checkpoints[-1].stat().st_size)  # two are kept, and the third is written beside them
    disk, bundle = tmp_path / "disk", tmp_path / "bundle.safetensors"
    disk.mkdir()
    train = shlex.join(
        [sys.executable, "-m", "app", "train", "--data", str(photos), "--out", str(disk / "run"), *OPTIONS]
    )
    script = f"""
        mount -t tmpfs -o size={room} none {disk} || exit 9
        {train}; echo "first: $?"
        mount -o remount,size=50m {disk} || exit 9
        {train}; echo "second: $?"
        cp {disk}/run/bundle.safetensors {bundle}
    """
    run = subprocess.run(
        [*mount, script],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=True,
    )
    assert re.search(r"the disk is full, so the training state of step 3 could not be saved.*make room", run.stdout)
    assert "first: 1\n" in run.stdout
    assert "going on from step 2" in run.stdout
    assert "second: 0\n" in run.stdout
    with safe_open(bundle, "numpy") as file:
        assert file.metadata()["content_hash"] == whole.content_hash
