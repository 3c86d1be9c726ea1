"""The options: the reference to the letter, and bad values named."""

import dataclasses
import json
import math

import keras
import pytest

from model.config import PRESETS, NetworkConfig, Stage, TrainConfig, network_from_json, network_to_json
from model.network import build_network
from model.order import PhotoOrder


def test_the_reference_is_trained_better_with_the_same_network():
    plus, reference = PRESETS["flowers64-plus"].network, PRESETS["flowers64"].network
    assert dataclasses.replace(plus, prediction="noise") == reference


def test_a_run_from_before_there_were_these_options_is_read_as_by_default():
    before = json.loads(json.dumps(TrainConfig().to_json()))
    for name in ("min_snr", "second_ema", "class_drop", "guidance"):
        del before[name]
    for name in ("attention_levels", "head_width", "prediction", "classes"):
        del before["network"][name]
    assert TrainConfig.from_json(before) == TrainConfig()


def test_networks_are_written_as_before_there_were_these_options():
    written = network_to_json(NetworkConfig())
    assert written == network_to_json(NetworkConfig(attention_levels=0, head_width=64, prediction="noise"))
    assert not {"attention_levels", "head_width", "prediction", "classes"} & written.keys()
    config = PRESETS["flowers64-xl"].network
    assert network_from_json(json.loads(json.dumps(network_to_json(config)))) == config


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
        ({"train_time_power": 0.0}, "train_time_power"),
        ({"train_time_power": math.nan}, "train_time_power"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"ema": 1.0}, "ema"),
        ({"decay_share": 1.1}, "decay_share"),
        ({"minutes": 0.0}, "minutes"),
        ({"minutes": math.nan}, "minutes"),
        ({"minutes": math.inf}, "minutes"),
        ({"learning_rate": math.nan}, "learning_rate"),
        ({"learning_rate": math.inf}, "learning_rate"),
        ({"weight_decay": math.nan}, "weight_decay"),
        ({"ema": math.nan}, "ema"),
        ({"ema": -0.1}, "ema"),
        ({"decay_share": math.nan}, "decay_share"),
        ({"warmup_steps": -1}, "warmup_steps"),
        ({"class_drop": 1.1}, "class_drop"),
        ({"class_drop": math.nan}, "class_drop"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"stages": (Stage(64, math.nan),)}, "stages"),
        ({"loss": "l1"}, "loss.*mae, mse, huber"),
        ({"second_ema": 1.0}, "second_ema"),
        ({"min_snr": 5.0}, "min_snr.*needs the loss mse or huber"),
        ({"loss": "mse", "min_snr": 0.0}, "min_snr"),
        ({"loss": "mse", "min_snr": math.nan}, "min_snr"),
        ({"resize": "nearest"}, "resize.*bilinear"),
        ({"precision": "float16"}, "precision.*mixed_bfloat16"),
        ({"optimizer": "sgd"}, "optimizer.*adamw, muon"),
    ],
)
def test_bad_values_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(PRESETS["flowers64"], **change)


@pytest.mark.parametrize(
    "change",
    [
        {"widths": ()},
        {"widths": (8, 0)},
        {"block_depth": 0},
        {"patch_size": 0},
        {"embedding_dims": 7},
        {"embedding_dims": 2},
        {"embedding_max_frequency": 0.0},
        {"embedding_max_frequency": math.nan},
        {"classes": -1},
        {"classes": 3},  # without embed_in_blocks, there is nothing that could tell of them
        {"attention_levels": -1},
        {"attention_levels": 5},
        {"head_width": 0},
        {"prediction": "image"},
    ],
)
def test_impossible_networks_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        NetworkConfig(**change)


def test_heads_share_the_channels_evenly():
    assert NetworkConfig().heads(32) == 1
    assert PRESETS["flowers64-xl"].network.heads(192) == 3
    with pytest.raises(ValueError, match="width 50 cannot be shared among 3 attention heads"):
        NetworkConfig((8, 50), attention_levels=1, head_width=16)


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_every_seed_that_is_taken_can_be_used(seed):
    PhotoOrder(8, 4, 1, seed).rows(0, 2)
    build_network(NetworkConfig((8,), 1), 8, seed=seed)
    keras.random.uniform((1,), seed=keras.random.SeedGenerator(seed))


def test_stages_are_read():
    assert Stage.parse_all("32:0.6,64:0.4") == (Stage(32, 0.6), Stage(64, 0.4))


@pytest.mark.parametrize("text", ["", "32", "32:", "a:1", "32:0.5;64:0.5"])
def test_stages_that_cannot_be_read_are_shown(text):
    with pytest.raises(ValueError, match="SIZE:SHARE"):
        Stage.parse_all(text)
