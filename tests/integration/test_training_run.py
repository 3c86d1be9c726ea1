"""A training run in its folder, driven by hand: what it takes up again, what it refuses, what it must not keep."""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest

from model.bundle import load_bundle
from model.checkpoint import load_checkpoint
from model.code_hash import code_fingerprint
from model.config import PRESETS, NetworkConfig, Stage
from model.dataset import Dataset
from model.run import Run
from model.run_error import RunError
from tests.photos import paint_flower

pytest.importorskip("tensorboard", reason="needs the extra `train`")

CONFIG = dataclasses.replace(
    PRESETS["tiny"], network=NetworkConfig((8,), 1), stages=(Stage(16, 1.0),), epochs=2, sample_steps=1
)
STEPS_AN_EPOCH = 3


def photos(count, size, first=0):
    return np.stack([np.asarray(paint_flower(seed, size, size)) for seed in range(first, first + count)])


def dataset(sizes=(16,), first=0):
    train, validation = ({size: photos(count, size, first) for size in sizes} for count in (24, 5))
    return Dataset("painted", train, validation, ())


class Stop:
    """Stops a run before it takes step number `at`."""

    def __init__(self, at):
        self.left = at

    def __call__(self):
        self.left -= 1
        return self.left < 0


def run_in(folder, config=CONFIG, data=None, **options):
    return Run(config, data or dataset(), folder, options.pop("say", lambda line: None), **options)


def train(folder, config=CONFIG, stop_after=10**9, **options):
    run = run_in(folder, config, **options)
    finished = run.train(lambda *_: None, Stop(stop_after))
    return run, finished


def rows(folder):
    with (folder / "history.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert train(folder)[1]
    return folder


def test_a_run_begun_before_there_were_these_options_goes_on(tmp_path):
    assert not train(tmp_path, stop_after=2)[1]
    path = tmp_path / "options.json"
    document = json.loads(path.read_text())
    for name in ("min_snr", "second_ema", "optimizer", "stratified_times"):
        del document["options"][name]
    for name in ("attention_levels", "head_width", "prediction"):
        del document["options"]["network"][name]
    path.write_text(json.dumps(document))
    assert train(tmp_path)[1]


def test_a_run_begun_by_a_newer_version_is_told(tmp_path):
    assert not train(tmp_path, stop_after=2)[1]
    path = tmp_path / "options.json"
    document = json.loads(path.read_text())
    later = [document | {"options": document["options"] | {"of_next_year": 1}}, {"settings": document["options"]}]
    for changed in later:
        path.write_text(json.dumps(changed))
        with pytest.raises(RunError, match=r"options.json: damaged, or of another version of Bouquet"):
            train(tmp_path)


def test_how_multisteps_are_spread_may_change_on_the_way(tmp_path):
    """It trains nothing, as guidance does; where the steps of ``ddim`` lie is how the network is trained, too."""
    assert not train(tmp_path, stop_after=2)[1]
    schedule = dataclasses.replace(CONFIG.schedule, multistep_time_power=1.4)
    said = []
    run, finished = train(tmp_path, dataclasses.replace(CONFIG, schedule=schedule), say=said.append)
    assert finished
    assert "schedule.multistep_time_power: None until now, 1.4 from here" in said
    assert load_bundle(run.bundle_path).schedule == schedule
    other = dataclasses.replace(CONFIG, schedule=dataclasses.replace(schedule, time_power=2.0))
    with pytest.raises(RunError, match=r"a run with other schedule\.time_power;"):
        train(tmp_path, other)


def test_kid_is_tracked_and_chooses_among_two_averages(tmp_path):
    kids = iter([0.5, 0.4, 0.3, 0.2])

    class Watch:
        name = "counted"

        def __call__(self, bundle):
            return next(kids)

    lines = []
    config = dataclasses.replace(CONFIG, second_ema=0.5)
    run, finished = train(tmp_path, config, kid_watch=Watch(), say=lines.append)
    assert finished
    assert [row["validation_kid"] for row in rows(tmp_path)] == ["0.5", "0.4"]
    assert any("KID 0.4000" in line for line in lines)
    bundle = load_bundle(run.bundle_path)
    recipe = bundle.card.recipe
    assert [average["validation_kid"] for average in recipe["averages"]] == [0.3, 0.2]
    assert (recipe["average"], recipe["validation_kid_features"]) == (0.5, "counted")
    kept = load_checkpoint(tmp_path / "checkpoints")[0].groups["second_ema_weights"]
    for variable, value in zip(bundle.network.trainable_variables, kept, strict=True):
        np.testing.assert_array_equal(np.asarray(variable.value), value)
    assert "average kept | 0.5" in (tmp_path / "MODEL_CARD.md").read_text()


def test_without_kid_the_loss_chooses_among_two_averages(tmp_path):
    run, _ = train(tmp_path, dataclasses.replace(CONFIG, ema=0.9999, second_ema=0.5))
    recipe = load_bundle(run.bundle_path).card.recipe
    assert recipe["average"] == 0.5  # the other one still is what the training began with
    assert [average["validation_kid"] for average in recipe["averages"]] == [None, None]
    assert [row["validation_kid"] for row in rows(tmp_path)] == ["", ""]


def test_the_card_names_code_and_software(whole):
    recipe = load_bundle(whole / "bundle.safetensors").card.recipe
    assert recipe["code_sha256"] == [code_fingerprint()]
    assert recipe["software"].keys() == {"bouquet", "keras", keras.backend.backend()}
    assert code_fingerprint() in (whole / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("stop_after", [1, STEPS_AN_EPOCH, STEPS_AN_EPOCH + 1])
def test_stopped_at_any_step_it_goes_on_as_if_it_had_not(whole, tmp_path, stop_after):
    run, finished = train(tmp_path, stop_after=stop_after)
    assert not finished
    assert run.progress.step == stop_after
    assert train(tmp_path)[1]
    assert load_bundle(tmp_path / "bundle.safetensors").content_hash == (
        load_bundle(whole / "bundle.safetensors").content_hash
    )
    assert rows(tmp_path) == rows(whole)


def test_more_epochs_make_another_bundle(tmp_path):
    assert train(tmp_path, dataclasses.replace(CONFIG, epochs=1))[1]
    before = load_bundle(tmp_path / "bundle.safetensors")
    said = []
    assert train(tmp_path, dataclasses.replace(CONFIG, epochs=2), say=said.append)[1]
    assert any("epochs: 1 until now, 2 from here" in line for line in said)
    after = load_bundle(tmp_path / "bundle.safetensors")
    assert after.content_hash != before.content_hash
    assert after.card.recipe["trained"]["epoch"] == 2


def test_a_budget_that_a_new_option_has_used_up_ends_the_run_with_what_there_is(tmp_path):
    train(tmp_path, stop_after=2)
    run, finished = train(tmp_path, dataclasses.replace(CONFIG, minutes=1e-6))
    assert finished
    assert run.progress.step == 2
    assert [row["step"] for row in rows(tmp_path)] == ["2"]
    assert load_bundle(tmp_path / "bundle.safetensors").card.recipe["trained"]["step"] == 2


def test_weights_that_are_no_numbers_are_never_kept(tmp_path):
    run, _ = train(tmp_path, stop_after=1)
    before = list((tmp_path / "checkpoints").iterdir())
    run._state.weights[0] = run._state.weights[0] * np.float32(np.nan)
    with pytest.raises(RunError, match=r"weights are no longer numbers.*--learning-rate"):
        run.train(lambda *_: None, lambda: True)
    assert list((tmp_path / "checkpoints").iterdir()) == before


def test_a_run_that_exploded_goes_on_from_before_as_it_says(tmp_path):
    train(tmp_path, stop_after=1)
    exploding = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(RunError, match=rf"losses are no longer.*--learning-rate.*{tmp_path}/checkpoints"):
        train(tmp_path, exploding, checkpoint_seconds=0.0)
    with pytest.raises(RunError, match="no longer"):
        train(tmp_path)
    max((tmp_path / "checkpoints").iterdir()).unlink()
    run, finished = train(tmp_path)
    assert finished
    assert np.isfinite([row.noise_loss for row in run.history.rows]).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 4}, "batch_size"),
        ({"seed": 1}, "seed"),
        ({"network": NetworkConfig((16,), 1)}, "network.widths"),
        ({"ema": 0.5}, "ema"),
    ],
)
def test_other_options_are_another_run(whole, change, named):
    before = (whole / "options.json").read_text()
    with pytest.raises(RunError, match=rf"other {named};.*--out"):
        run_in(whole, dataclasses.replace(CONFIG, **change))
    assert (whole / "options.json").read_text() == before


def test_other_photos_are_another_run(whole):
    with pytest.raises(RunError, match="other data"):
        run_in(whole, data=dataset(first=100))


def test_a_run_begins_with_the_weights_of_another_bundle(whole, tmp_path):
    ancestor = load_bundle(whole / "bundle.safetensors")
    config = dataclasses.replace(
        CONFIG, network=dataclasses.replace(CONFIG.network, prediction="velocity"), learning_rate=1e-12, second_ema=0.5
    )
    run, finished = train(tmp_path, config, begin_from=ancestor)
    assert finished
    bundle = load_bundle(run.bundle_path)
    for ours, theirs in zip(bundle.network.trainable_variables, ancestor.network.trainable_variables, strict=True):
        np.testing.assert_allclose(np.asarray(ours.value), np.asarray(theirs.value), atol=1e-6)
    assert ancestor.content_hash in (tmp_path / "MODEL_CARD.md").read_text()
    assert bundle.card.recipe["begun_from"] == {"name": "tiny", "content_hash": ancestor.content_hash}
    with pytest.raises(RunError, match="other begin_from"):
        run_in(tmp_path, config)
    run_in(tmp_path, config, begin_from=ancestor)


def test_a_network_that_is_told_classes_may_begin_from_one_that_is_not(tmp_path):
    network = NetworkConfig((8,), 1, embed_in_blocks=True)
    first, _ = train(tmp_path / "first", dataclasses.replace(CONFIG, network=network))
    ancestor = load_bundle(first.bundle_path)
    config = dataclasses.replace(CONFIG, network=dataclasses.replace(network, classes=2), learning_rate=1e-12)
    data = dataclasses.replace(
        dataset(),
        classes=("light", "dark"),
        train_labels=np.arange(24, dtype=np.int32) % 2,
        validation_labels=np.zeros(5, np.int32),
    )
    run, _ = train(tmp_path / "second", config, data=data, begin_from=ancestor)
    bundle = load_bundle(run.bundle_path)
    assert (bundle.class_names, bundle.class_counts) == (("light", "dark"), (12, 12))
    weights = [np.asarray(variable.value) for variable in bundle.network.trainable_variables]
    told = next(k for k, variable in enumerate(bundle.network.trainable_variables) if "class" in variable.path)
    np.testing.assert_allclose(weights.pop(told), 0.0, atol=1e-6)
    for ours, theirs in zip(weights, ancestor.network.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, np.asarray(theirs.value), atol=1e-6)


def test_photos_of_other_classes_than_the_network_is_told_are_refused(tmp_path):
    config = dataclasses.replace(CONFIG, network=NetworkConfig((8,), 1, embed_in_blocks=True, classes=2))
    with pytest.raises(RunError, match="0 classes of photos"):
        run_in(tmp_path, config)


def test_a_larger_network_may_begin_from_a_smaller_one(whole, tmp_path):
    ancestor = load_bundle(whole / "bundle.safetensors")
    config = dataclasses.replace(
        CONFIG, network=dataclasses.replace(CONFIG.network, widths=(12,), attention_levels=1), learning_rate=1e-12
    )
    run, _ = train(tmp_path, config, begin_from=ancestor)
    bundle = load_bundle(run.bundle_path)
    assert bundle.network_config == config.network
    ours, theirs = (
        {variable.path: np.asarray(variable.value) for variable in network.trainable_variables}
        for network in (bundle.network, ancestor.network)
    )
    np.testing.assert_allclose(ours["pixels_in/kernel"][..., :8], theirs["pixels_in/kernel"], atol=1e-6)
    np.testing.assert_allclose(ours["pixels_out/kernel"][..., :8, :], theirs["pixels_out/kernel"], atol=1e-6)
    np.testing.assert_allclose(ours["pixels_out/kernel"][..., 8:, :], 0.0, atol=1e-6)


def test_a_bundle_that_cannot_grow_to_the_network_is_refused_to_begin_from(whole, tmp_path):
    with pytest.raises(RunError, match=r"begin_from.*cannot grow"):
        run_in(
            tmp_path,
            dataclasses.replace(CONFIG, network=NetworkConfig((4,), 1)),
            begin_from=load_bundle(whole / "bundle.safetensors"),
        )


def test_options_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "options.json").write_text("{")
    with pytest.raises(RunError, match=r"options\.json"):
        run_in(tmp_path)


def test_a_row_that_a_kill_has_undone_does_not_stay(tmp_path):
    run = run_in(tmp_path)
    run.train(lambda *_: None, Stop(STEPS_AN_EPOCH))
    for path in (tmp_path / "checkpoints").iterdir():
        path.unlink()  # as if killed between the row and its checkpoint
    run_in(tmp_path)
    assert not (tmp_path / "history.csv").exists() or rows(tmp_path) == []


def test_stages_change_size_and_noise_and_end_at_the_bundles_size(tmp_path):
    config = dataclasses.replace(CONFIG, stages=(Stage(8, 0.5), Stage(16, 0.5)))
    run, finished = train(tmp_path, config, data=dataset(sizes=(8, 16)))
    assert finished
    assert [row.image_size for row in run.history.rows] == [8, 16]
    shifts = [run._stage_schedule(size).log_snr_shift for size in (8, 16)]
    assert shifts == pytest.approx([np.log(4.0), 0.0])
    bundle = load_bundle(tmp_path / "bundle.safetensors")
    assert (bundle.image_size, bundle.schedule) == (16, CONFIG.schedule)


def test_checkpoints_come_as_often_as_asked(tmp_path):
    steps = []

    def look(progress, *_):
        checkpoint, _ = load_checkpoint(tmp_path / "checkpoints")
        steps.append((progress.step, checkpoint.progress["step"] if checkpoint else 0))

    run = run_in(tmp_path, checkpoint_seconds=0.0)
    run.train(look, lambda: False)
    assert steps == [(step, step - 1) for step in range(1, 2 * STEPS_AN_EPOCH + 1)]


def test_the_options_beside_the_run_are_the_resolved_ones(whole):
    options = json.loads((whole / "options.json").read_text())["options"]
    assert type(CONFIG).from_json(options) == CONFIG
