"""What `bouquet train` makes of its options, before it trains."""

import dataclasses

import numpy as np
import pytest

from model.config import PRESETS, NetworkConfig, Stage
from model.dataset import Dataset
from model.guidance import Guidance
from model.run_folder import held_folder
from model.schedule import Schedule
from model.train import DEFAULT_DECAY_SHARE, fit_classes, main, parser, resolve
from tests.photos import paint_folder

NEEDED = ["--data", "photos", "--out", "runs/x"]


def resolved(*options):
    return resolve(parser().parse_args([*NEEDED, *options]))


@pytest.mark.parametrize("preset", PRESETS)
def test_without_options_it_is_the_preset(preset):
    assert resolved("--preset", preset) == PRESETS[preset]


def test_the_reference_is_what_is_trained_by_default():
    assert resolved() == PRESETS["flowers64"]


def test_options_take_the_place_of_the_presets():
    options = "--epochs 3 --stages 32:0.25,64:0.75 --batch-size 16 --flip --precision mixed_bfloat16 --loss mse"
    options += " --resize box --learning-rate 0.002 --warmup-steps 10 --decay-share 0.2 --weight-decay 0.01"
    options += " --no-scale-decay --ema 0.99 --second-ema 0.999 --ema-warmup --seed 5 --min-snr 5 --prediction velocity"
    options += " --class-drop 0.3 --guidance 2 --optimizer muon --stratified-times --train-time-power 0.8"
    options += " --min-signal-rate 0.01 --max-signal-rate 0.99 --time-power 2 --multistep-time-power 1.5"
    assert resolved(*options.split()) == dataclasses.replace(
        PRESETS["flowers64"], epochs=3, stages=(Stage(32, 0.25), Stage(64, 0.75)), batch_size=16, flip=True,
        precision="mixed_bfloat16", loss="mse", resize="box", learning_rate=0.002, warmup_steps=10, decay_share=0.2,
        weight_decay=0.01, scale_decay=False, ema=0.99, second_ema=0.999, ema_warmup=True, seed=5, min_snr=5.0,
        network=NetworkConfig(prediction="velocity"), class_drop=0.3, guidance=Guidance(2.0),
        optimizer="muon", stratified_times=True, train_time_power=0.8,
        schedule=Schedule(min_signal_rate=0.01, max_signal_rate=0.99, time_power=2.0, multistep_time_power=1.5),
    )  # fmt: skip


def test_the_network_is_told_as_many_classes_as_the_photos_have():
    photos = {8: np.zeros((2, 8, 8, 3), np.uint8)}
    for classes in ((), ("lily", "rose")):
        said = []
        dataset = Dataset("roses", photos, photos, (), classes)
        config = fit_classes(PRESETS["flowers64-patch"], dataset, said.append)
        assert config.network == dataclasses.replace(PRESETS["flowers64-patch"].network, classes=len(classes))
        assert said[0].startswith("roses: no classes" if not classes else "roses: 2 classes")
        assert fit_classes(PRESETS["flowers64"], dataset, said.append) == PRESETS["flowers64"]
        assert len(said) == 1


@pytest.mark.parametrize("content", [None, "{", "[1]", '{"001": 7}', '{"001": ""}'])
def test_names_that_cannot_be_read_are_told(content, tmp_path, capsys):
    path = tmp_path / "names.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match="2"):
        main([*NEEDED, "--class-names", str(path)])
    assert f"--class-names: {path}" in capsys.readouterr().err


def test_minutes_bring_the_learning_rate_down_unless_told_otherwise():
    assert resolved("--minutes", "5").decay_share == DEFAULT_DECAY_SHARE
    assert resolved("--minutes", "5", "--decay-share", "0").decay_share == 0.0
    patch = PRESETS["flowers64-patch"]
    assert resolved("--minutes", "5", "--preset", patch.preset).decay_share == patch.decay_share


@pytest.mark.parametrize("shorter", [["--minutes", "5"], ["--epochs", "4"]])
def test_the_average_of_a_shorter_run_forgets_its_first_weights_unless_told_otherwise(shorter):
    assert resolved(*shorter).ema_warmup
    assert not resolved(*shorter, "--no-ema-warmup").ema_warmup


@pytest.mark.parametrize("epochs", [[], ["--epochs", str(PRESETS["flowers64"].epochs)]])
def test_the_average_of_a_whole_run_is_the_preset_s(epochs):
    assert not resolved(*epochs).ema_warmup


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--stages", "64"], "'64' is not SIZE:SHARE, as in 32:0.6,64:0.4"),
        (["--stages", "60:1"], "multiple of 8"),
        (["--preset", "tiny", "--stages", "9:1"], "multiple of 2"),
        (["--stages", "64:0.5"], "add up to 1"),
        (["--minutes", "nan"], "minutes"),
        (["--minutes", "0"], "minutes must be above 0"),
        (["--minutes", "-1"], "minutes must be above 0"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--learning-rate", "inf"], "learning_rate"),
        (["--seed", "-1"], "seed"),
        (["--guidance", "much"], "6,2.5:0.1"),
        (["--max-signal-rate", "1"], "max_signal_rate"),
        (["--time-power", "nan"], "time_power"),
        (["--checkpoint-seconds", "-1"], "checkpoint"),
        (["--checkpoint-seconds", "nan"], "checkpoint"),
        (["--preset", "roses"], "roses"),
    ],
)
def test_bad_options_end_with_2_and_their_reason(options, told, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*NEEDED, *options])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--batch-size", "5000"], "do not fill one batch of 5000"),
        (["--stages", "32:1"], "smaller than the 32 x 32"),
    ],
)
def test_photos_that_are_too_few_or_too_small_are_told(options, told, tmp_path, capsys):
    photos = paint_folder(tmp_path / "photos", 20)
    needed = ["--preset", "tiny", "--kid", "off", "--data", str(photos), "--out", str(tmp_path / "run")]
    assert main([*needed, *options]) == 1
    assert told in capsys.readouterr().err


def test_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(NEEDED) == 1
    assert "bouquet[train]" in capsys.readouterr().err


def test_a_folder_that_is_being_trained_in_is_left_alone(tmp_path, capsys):
    options = ["--data", str(tmp_path / "no photos"), "--out", str(tmp_path / "run")]
    with held_folder(tmp_path / "run"):
        assert main(options) == 1
        assert f"{tmp_path / 'run'}: another training is at work in it" in capsys.readouterr().err
    assert main(options) == 1
    assert "no such folder" in capsys.readouterr().err
