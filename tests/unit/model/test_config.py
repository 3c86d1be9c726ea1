"""The options: the reference to the letter, and bad values named."""

import dataclasses
import json

import pytest

from model.config import PRESETS, NetworkConfig, Stage, TrainConfig


def test_the_reference_recipe_is_the_published_one():
    recipe = PRESETS["flowers64"]
    assert recipe == TrainConfig()
    assert recipe.network == NetworkConfig((32, 64, 96, 128), 2, 32, 1000.0, 1, False)
    assert (recipe.schedule.min_signal_rate, recipe.schedule.max_signal_rate) == (0.02, 0.95)
    assert (recipe.image_size, recipe.repetitions, recipe.batch_size, recipe.epochs) == (64, 5, 64, 80)
    assert (recipe.loss, recipe.learning_rate, recipe.weight_decay, recipe.ema) == ("mae", 1e-3, 1e-4, 0.999)
    assert (recipe.flip, recipe.decay_share, recipe.warmup_steps, recipe.resize) == (False, 0.0, 0, "bilinear")


@pytest.mark.parametrize("preset", PRESETS)
def test_json_is_the_way_back(preset):
    config = PRESETS[preset]
    assert config.preset == preset
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"stages": ()}, "stages"),
        ({"stages": (Stage(64, 0.5),)}, "add up to 1"),
        ({"stages": (Stage(60, 1.0),)}, "multiple of 8"),
        ({"stages": (Stage(64, 1.5), Stage(32, -0.5))}, "positive share"),
        ({"repetitions": 0}, "repetitions"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"sample_steps": 0}, "sample_steps"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"ema": 1.0}, "ema"),
        ({"decay_share": 1.1}, "decay_share"),
        ({"minutes": 0.0}, "minutes"),
    ],
)
def test_bad_values_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(PRESETS["flowers64"], **change)


@pytest.mark.parametrize(
    "change",
    [{"widths": ()}, {"widths": (8, 0)}, {"block_depth": 0}, {"patch_size": 0}, {"embedding_dims": 7}],
)
def test_impossible_networks_are_refused(change):
    with pytest.raises(ValueError, match=r"widths|embedding_dims"):
        NetworkConfig(**change)


def test_stages_are_read():
    assert Stage.parse_all("32:0.6,64:0.4") == (Stage(32, 0.6), Stage(64, 0.4))


@pytest.mark.parametrize("text", ["", "32", "32:", "a:1", "32:0.5;64:0.5"])
def test_stages_that_cannot_be_read_are_shown(text):
    with pytest.raises(ValueError, match="SIZE:SHARE"):
        Stage.parse_all(text)
