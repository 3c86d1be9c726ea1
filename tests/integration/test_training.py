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
from tests.nursery import Child, Nursery
from tests.photos import paint_folder
from tests.processes import poll

ROOT = Path(__file__).parents[2]
OPTIONS = ("--preset", "tiny", "--epochs", "4", "--checkpoint-seconds", "0", "--kid", "off")
PHOTOS = 400  # 312 to train on: 39 steps an epoch

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}


class Training:
    """Runs `bouquet train` in one folder, again and again: forked off a nursery, or as people start it."""

    def __init__(self, photos: Path, out: Path, nursery: Nursery | None = None) -> None:
        self.photos, self.out = photos, out
        self._nursery = nursery
        self._log = out.with_name(f"{out.name}.log")

    def start(self, *options: str) -> "subprocess.Popen[str] | Child":
        """What it prints goes to the log, and nothing of the run before is left there."""
        arguments = ["--data", str(self.photos), "--out", str(self.out), *options]
        if self._nursery is not None:
            self._log.unlink(missing_ok=True)  # a nursery appends
            return self._nursery.start(arguments, QUIET, self._log)
        with self._log.open("w") as log:
            command = [sys.executable, "-m", "app", "train", *arguments]
            return subprocess.Popen(command, cwd=ROOT, env=os.environ | QUIET, stdout=log, stderr=log, text=True)

    def run(self, *options: str) -> tuple[int, str]:
        code = self.start(*options).wait(200)
        return code, self._log.read_text()

    def end_at(self, step: int, number: signal.Signals) -> tuple[int, str]:
        """Signal a run once it has saved that step."""
        process = self.start(*OPTIONS)
        poll(lambda: self.step >= step or process.poll() is not None, f"step {step}", 120.0)
        process.send_signal(number)
        code = process.wait(60)
        return code, self._log.read_text()

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
def nursery():
    nursery = Nursery("tests.training_nursery", os.environ.get("KERAS_BACKEND", "tensorflow"))
    yield nursery
    nursery.close()


@pytest.fixture
def training(photos, nursery, tmp_path):
    """In a new folder."""
    return Training(photos, tmp_path / "run", nursery)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """A run that nobody disturbed, from the start of Python to its end."""
    training = Training(photos, tmp_path_factory.mktemp("whole") / "run")
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


def test_killed_damaged_stopped_and_resumed_it_ends_with_the_same_weights(whole, training):
    for step in (10, 50, 70):
        code, output = training.end_at(step, signal.SIGKILL)
        assert code == -signal.SIGKILL, output
    newest = training.checkpoints[-1]
    newest.write_bytes(newest.read_bytes()[:-1000])
    code, output = training.end_at(100, signal.SIGTERM)
    assert code == 130
    assert f"{newest}: damaged" in output
    assert "run the same command again" in output
    assert load_checkpoint(training.out / "checkpoints")[0] is not None

    code, output = training.run(*OPTIONS)
    assert code == 0
    assert "going on from step" in output
    assert training.content_hash == whole.content_hash
    assert training.history == whole.history


@pytest.fixture
def again(whole, nursery):
    """The same folder once more."""
    return Training(whole.photos, whole.out, nursery)


def test_a_finished_run_has_nothing_to_do(whole, again):
    before = (whole.out / "bundle.safetensors").stat()
    code, output = again.run(*OPTIONS)
    assert code == 0, output
    assert (whole.out / "bundle.safetensors").stat() == before


def test_other_options_are_another_run(again):
    code, output = again.run(*OPTIONS, "--batch-size", "4", "--flip")
    assert code == 1
    assert re.search(r"holds a run with other batch_size, flip", output)


def test_a_loss_that_explodes_is_told(training):
    code, output = training.run(*OPTIONS, "--learning-rate", "1e30")
    assert code == 1
    assert "no longer numbers" in output
    assert "--learning-rate" in output


def test_minutes_end_a_run_with_a_learning_rate_of_zero(training):
    code, output = training.run("--preset", "tiny", "--kid", "off", "--minutes", "0.05")
    assert code == 0, output
    assert float(training.history[-1]["learning_rate"]) == 0.0
    assert "decay_share" in (training.out / "options.json").read_text()
    before = training.content_hash
    checkpoint, _ = load_checkpoint(training.out / "checkpoints")
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
        env=os.environ | QUIET,
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
