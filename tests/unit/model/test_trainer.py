"""The training step: it learns, it repeats itself exactly, and its average is the average."""

import dataclasses

import numpy as np
import pytest
from keras import ops

from model.config import PRESETS, NetworkConfig
from model.normaliser import Normaliser
from model.schedule import Rates, Schedule
from model.trainer import Trainer
from tests.photos import paint_flower

CONFIG = dataclasses.replace(PRESETS["tiny"], network=NetworkConfig((8,), 1), flip=True)
PHOTOS = np.stack([np.asarray(paint_flower(seed, 16, 16)) for seed in range(24)])
ROWS = np.random.default_rng(0).integers(0, 24, (6, 8)).astype(np.int32)
RATES = np.full(6, 1e-3, np.float32)


@pytest.fixture(scope="module")
def trainer():
    return Trainer(CONFIG, 16, Normaliser.of(PHOTOS))


@pytest.fixture(scope="module")
def photos():
    return ops.convert_to_tensor(PHOTOS)


def arrays(state):
    return [ops.convert_to_numpy(value) for group in state for value in group]


def test_steps_in_one_call_are_steps_one_by_one(trainer, photos):
    together, losses = trainer.train_steps(trainer.initial_state(), photos, ROWS, 0, RATES)
    state, apart = trainer.initial_state(), []
    for number in range(6):
        state, loss = trainer.train_steps(state, photos, ROWS[number : number + 1], number, RATES[:1])
        apart.append(float(ops.convert_to_numpy(loss.noise)[0]))
    np.testing.assert_allclose(ops.convert_to_numpy(losses.noise), apart, rtol=1e-5)
    for one, other in zip(arrays(together), arrays(state), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_same_step_again_does_the_same(trainer, photos):
    runs = [trainer.train_steps(trainer.initial_state(), photos, ROWS[:2], 5, RATES[:2]) for _ in range(2)]
    for one, other in zip(arrays(runs[0][0]), arrays(runs[1][0]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_steps_draw_other_noises(trainer, photos):
    losses = []
    for step in (0, 1):
        _, loss = trainer.train_steps(trainer.initial_state(), photos, ROWS[:1], step, RATES[:1])
        losses.append(float(ops.convert_to_numpy(loss.image)[0]))
    assert losses[0] != losses[1]


def test_the_loss_goes_down(trainer, photos):
    state, first = trainer.train_steps(trainer.initial_state(), photos, ROWS, 0, RATES)
    for call in range(1, 20):
        state, last = trainer.train_steps(state, photos, ROWS, 6 * call, RATES)
    assert ops.convert_to_numpy(last.noise).mean() < 0.75 * ops.convert_to_numpy(first.noise).mean()


@pytest.mark.parametrize(
    "change",
    [
        {"network": NetworkConfig((8,), 1, prediction="velocity"), "loss": "mse", "min_snr": 5.0},
        {"network": NetworkConfig((8, 16), 1, attention_levels=1), "loss": "huber", "second_ema": 0.5},
        {"network": NetworkConfig((8, 16), 1, prediction="velocity"), "loss": "mse", "optimizer": "muon"},
    ],
    ids=["velocity, weighted", "attention, huber, two averages", "muon"],
)
def test_other_recipes_learn_as_well(photos, change):
    trainer = Trainer(dataclasses.replace(CONFIG, **change), 16, Normaliser.of(PHOTOS))
    # AdamW's first steps are larger than those that come later, and Muon's are not.
    rates = 4 * RATES if trainer.config.optimizer == "muon" else RATES
    state, first = trainer.train_steps(trainer.initial_state(), photos, ROWS, 0, rates)
    for call in range(1, 20):
        state, _ = trainer.train_steps(state, photos, ROWS, 6 * call, rates)
    _, last = trainer.train_steps(state, photos, ROWS, 0, rates)  # with the draws of the first time
    assert ops.convert_to_numpy(last.noise).mean() < 0.8 * ops.convert_to_numpy(first.noise).mean()


def test_the_weighted_error_of_the_velocities_is_what_is_trained_on(photos):
    network = NetworkConfig((8,), 1, prediction="velocity")
    config = dataclasses.replace(CONFIG, network=network, loss="mse", min_snr=5.0)
    trainer = Trainer(config, 16, Normaliser.of(PHOTOS))
    state, angles = trainer.initial_state(), np.full((4, 1, 1, 1), 0.25, np.float32)
    rates = Rates(*map(ops.convert_to_tensor, (np.cos(angles), np.sin(angles))))
    images, noises = np.random.default_rng(0).normal(size=(2, 4, 16, 16, 3)).astype(np.float32)
    value, (losses, _) = trainer._loss(state.weights, state.statistics, images, noises, rates, [], False)
    # The untrained network says zero, so the error is the velocity itself; SNR 15.3, of which 5 counts.
    velocities = np.cos(angles) * noises - np.sin(angles) * images
    snr = 1.0 / np.tan(0.25) ** 2
    assert float(value) == pytest.approx((velocities**2).mean() * 5.0 / (snr + 1.0), rel=1e-4)
    assert float(losses.noise) == pytest.approx(((np.cos(angles) * velocities) ** 2).mean(), rel=1e-3)


CLASSES = NetworkConfig((8,), 1, embed_in_blocks=True, prediction="velocity", classes=2)
LABELS = np.arange(24, dtype=np.int32) % 2


def black_and_white():
    """Black photos of class 0 and white ones of class 1: nothing but the class tells what is below the noise."""
    return np.stack([np.full((16, 16, 3), 255 * label, np.uint8) for label in LABELS])


def test_a_network_learns_what_it_is_told_of_classes():
    photos, losses = black_and_white(), {}
    for drop in (0.0, 1.0):
        config = dataclasses.replace(CONFIG, network=CLASSES, loss="mse", class_drop=drop, ema=0.5)
        trainer = Trainer(config, 16, Normaliser.of(photos), Schedule(0.005, 0.1))
        state = trainer.initial_state()
        for call in range(20):
            state, _ = trainer.train_steps(state, photos, ROWS, 6 * call, np.full(6, 1e-2, np.float32), LABELS)
        losses[drop] = float(trainer.validation_losses(state, photos, 0, labels=LABELS).image)
    assert losses[0.0] < 0.5 * losses[1.0]


def test_a_network_with_classes_needs_labels(photos):
    trainer = Trainer(dataclasses.replace(CONFIG, network=CLASSES), 16, Normaliser.of(PHOTOS))
    with pytest.raises(ValueError, match="labels"):
        trainer.train_steps(trainer.initial_state(), photos, ROWS, 0, RATES)


class AllDrawnError(Exception):
    """A step has drawn all that it needs."""


def test_whose_class_is_dropped_changes_no_other_draw(photos, monkeypatch):
    steps = []

    def stop(loss, weights, statistics, images, noises, rates, conditions, training):
        steps.append([ops.convert_to_numpy(drawn) for drawn in (images, noises, rates.signal, *conditions)])
        raise AllDrawnError

    monkeypatch.setattr("model.trainer.value_and_gradients", stop)
    for network, drop in ((dataclasses.replace(CLASSES, classes=0), 0.0), (CLASSES, 0.0), (CLASSES, 0.5)):
        trainer = Trainer(dataclasses.replace(CONFIG, network=network, class_drop=drop), 16, Normaliser.of(PHOTOS))
        seed = ops.convert_to_tensor([CONFIG.seed, 48], trainer._random.state.dtype)
        with pytest.raises(AllDrawnError):
            trainer._train_step(trainer.initial_state(), photos, LABELS, ROWS[0], seed, RATES[0], np.ones(2))
    untold, told, dropped = steps
    for one, other, third in zip(untold, told, dropped, strict=False):
        assert one.tobytes() == other.tobytes() == third.tobytes()
    assert told[3].sum() == len(ROWS[0])
    assert 0 < dropped[3].sum() < len(ROWS[0])


def test_the_times_of_a_batch_are_spread_evenly_in_training_alone(photos):
    trainer = Trainer(dataclasses.replace(CONFIG, stratified_times=True), 16, Normaliser.of(PHOTOS))
    start, end = (np.arccos(rate) for rate in (CONFIG.schedule.max_signal_rate, CONFIG.schedule.min_signal_rate))

    def parts(training):
        """In which eighth of the time each of a batch of eight is."""
        seed = ops.convert_to_tensor([CONFIG.seed, 0], trainer._random.state.dtype)
        _, _, rates = trainer._draw(photos[:8], seed, training)
        angles = np.arccos(ops.convert_to_numpy(rates.signal).ravel())
        return np.floor(8 * (angles - start) / (end - start)).astype(int).tolist()

    assert parts(training=True) == list(range(8))
    assert sorted(parts(training=False)) != list(range(8))


def test_training_may_dwell_on_other_noise_levels_than_sampling(photos):
    config = dataclasses.replace(CONFIG, schedule=Schedule(time_power=2.0), train_time_power=0.5)
    trainer = Trainer(config, 16, Normaliser.of(PHOTOS))
    seed = ops.convert_to_tensor([CONFIG.seed, 0], trainer._random.state.dtype)

    def noisiest_share(training):
        _, _, rates = trainer._draw(np.repeat(photos, 20, axis=0), seed, training)
        return np.mean(ops.convert_to_numpy(rates.signal) < np.cos(np.pi / 4))

    # Half of the angles lie in 1 - sqrt(1/2) of the times at a power of 2, beyond them in sqrt(1/2); at 1/2 in 1/4.
    assert noisiest_share(training=False) > 0.6
    assert noisiest_share(training=True) < 0.4


def test_two_averages_each_have_their_decay(photos):
    config = dataclasses.replace(CONFIG, ema=0.5, second_ema=0.9)
    trainer = Trainer(config, 16, Normaliser.of(PHOTOS))
    before = trainer.initial_state()
    after, _ = trainer.train_steps(before, photos, ROWS[:1], 0, RATES[:1])
    for prefix, decay in (("ema", 0.5), ("second_ema", 0.9)):
        for kind in ("weights", "statistics"):
            for start, value, average in zip(
                getattr(before, kind), getattr(after, kind), getattr(after, f"{prefix}_{kind}"), strict=True
            ):
                start, value, average = (ops.convert_to_numpy(each) for each in (start, value, average))
                np.testing.assert_allclose(average, decay * start + (1.0 - decay) * value, rtol=1e-5, atol=1e-7)
    shipped = trainer.ema_network(after, second=True).trainable_variables[0].value
    np.testing.assert_array_equal(ops.convert_to_numpy(shipped), ops.convert_to_numpy(after.second_ema_weights[0]))


def test_the_average_moves_over_weights_and_statistics(trainer, photos):
    before = trainer.initial_state()
    after, _ = trainer.train_steps(before, photos, ROWS[:1], 0, RATES[:1])
    for averages, values in (("ema_weights", "weights"), ("ema_statistics", "statistics")):
        for start, value, average in zip(
            getattr(before, values), getattr(after, values), getattr(after, averages), strict=True
        ):
            start, value, average = (ops.convert_to_numpy(each) for each in (start, value, average))
            np.testing.assert_allclose(average, CONFIG.ema * start + (1.0 - CONFIG.ema) * value, rtol=1e-5, atol=1e-7)
            assert value.shape == start.shape
    moved = [
        (ops.convert_to_numpy(start) != ops.convert_to_numpy(value)).any()
        for start, value in zip(before.statistics, after.statistics, strict=True)
    ]
    assert all(moved)


def test_the_averaged_network_is_what_is_shipped(trainer, photos):
    state, _ = trainer.train_steps(trainer.initial_state(), photos, ROWS, 0, RATES)
    network = trainer.ema_network(state)
    for variable, average in zip(network.trainable_variables, state.ema_weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable.value), ops.convert_to_numpy(average))


def test_validation_repeats_itself_and_begins_at_the_mean_of_noise(trainer, photos):
    losses = [float(trainer.validation_losses(trainer.initial_state(), photos[:8], 0).noise) for _ in range(2)]
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(np.sqrt(2.0 / np.pi), abs=0.02)  # an untrained network says zero


def test_mixed_precision_trains_float32_weights(photos):
    config = dataclasses.replace(CONFIG, precision="mixed_bfloat16", network=NetworkConfig((8,), 1, patch_size=2))
    trainer = Trainer(config, 16, Normaliser.of(PHOTOS))
    state, losses = trainer.train_steps(trainer.initial_state(), photos, ROWS, 0, RATES)
    assert {value.dtype for value in arrays(state)} == {np.dtype(np.float32)}
    assert np.isfinite(ops.convert_to_numpy(losses.noise)).all()
