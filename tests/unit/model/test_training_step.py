"""The training step in detail: what it draws, what it averages over, that it is compiled once and sums in one order."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from model.config import PRESETS, NetworkConfig, Stage
from model.normaliser import Normaliser
from model.trainer import Trainer
from tests.photos import paint_flower

NETWORK = NetworkConfig(widths=(8,), block_depth=1)
CONFIG = dataclasses.replace(PRESETS["tiny"], network=NETWORK, ema=0.75, ema_warmup=True)
PHOTOS = np.stack([np.asarray(paint_flower(seed, 16, 16)) for seed in range(24)])
NORMALISER = Normaliser.of(PHOTOS)
ROWS = np.random.default_rng(0).integers(0, len(PHOTOS), (12, CONFIG.batch_size)).astype(np.int32)


def arrays(tensors):
    return [ops.convert_to_numpy(tensor) for tensor in tensors]


def step(trainer, state, number):
    """The state after one step, and its noise loss."""
    rates = np.full(1, 1e-3, np.float32)
    photos = ops.convert_to_tensor(PHOTOS)
    after, losses = trainer.train_steps(state, photos, ROWS[number : number + 1], number, rates)
    return after, float(ops.convert_to_numpy(losses.noise)[0])


@pytest.fixture(scope="module")
def trainer():
    return Trainer(CONFIG, 16, NORMALISER)


@pytest.fixture(scope="module")
def compilations(trainer):
    """One entry for each time that the training step was compiled."""
    compiled, loss = [], trainer._loss

    def counted(*arguments):
        if arguments[-1]:  # training, not validation
            compiled.append(1)
        return loss(*arguments)

    trainer._loss = counted
    return compiled


@pytest.fixture(scope="module")
def trained(trainer, compilations):
    """States and losses of twelve steps, the first state included."""
    states, losses = [trainer.initial_state()], []
    for number in range(12):
        state, loss = step(trainer, states[-1], number)
        states.append(state)
        losses.append(loss)
    return states, losses


def test_a_run_repeats_itself_to_the_bit_in_another_trainer(trained):
    again = Trainer(CONFIG, 16, NORMALISER)
    state = again.initial_state()
    for number, loss in enumerate(trained[1]):
        state, repeated = step(again, state, number)
        assert repeated == loss
    for group, before in zip(state, trained[0][-1], strict=True):
        for one, other in zip(arrays(group), arrays(before), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_state_that_went_through_numpy_goes_on_as_if_it_had_not(trainer, trained):
    states, losses = trained
    restored = type(states[6])(*([ops.convert_to_tensor(array) for array in arrays(group)] for group in states[6]))
    for number in range(6, 12):
        restored, loss = step(trainer, restored, number)
        assert loss == losses[number]


def test_the_step_is_compiled_once(trained, compilations):
    assert len(compilations) == 1


def test_the_averages_start_short_and_follow_weights_and_statistics(trained):
    states, _ = trained
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        decay = min(0.75, (1 + number) / (10 + number))
        for values, olds, averages in (
            (after.weights, before.ema_weights, after.ema_weights),
            (after.statistics, before.ema_statistics, after.ema_statistics),
        ):
            for value, old, average in zip(arrays(values), arrays(olds), arrays(averages), strict=True):
                np.testing.assert_allclose(average, decay * old + (1 - decay) * value, rtol=1e-5, atol=1e-7)


def test_every_weight_and_statistic_moves(trained):
    first, last = trained[0][0], trained[0][-1]
    for name in ("weights", "statistics", "ema_weights", "ema_statistics"):
        for before, after in zip(arrays(getattr(first, name)), arrays(getattr(last, name)), strict=True):
            assert (before != after).any()


def test_validation_is_of_the_averages_alone_and_leaves_the_state_as_it_is(trainer, trained):
    state, photos = trained[0][-1], ops.convert_to_tensor(PHOTOS[:8])
    before = [arrays(group) for group in state]

    def losses(state, batch=0):
        return [float(loss) for loss in trainer.validation_losses(state, photos, batch)]

    assert losses(state) == losses(state._replace(weights=[], statistics=[], optimizer=[]))
    assert losses(state) != losses(state._replace(ema_weights=state.weights))
    assert losses(state) != losses(state, batch=1)
    for group, old in zip(state, before, strict=True):
        for one, other in zip(arrays(group), old, strict=True):
            np.testing.assert_array_equal(one, other)


DRAWN = 100  # one number for all: JAX compiles every operation anew for every shape


def draw(trainer, number=0, training=False):
    """Images, noises and signal rates of a step with the first photo, time and again."""
    photos = ops.convert_to_tensor(np.repeat(PHOTOS[:1], DRAWN, axis=0))
    seed = ops.convert_to_tensor([trainer.config.seed, number * 16], trainer._random.state.dtype)
    images, noises, rates = trainer._draw(photos, seed, training)
    return ops.convert_to_numpy(images), ops.convert_to_numpy(noises), ops.convert_to_numpy(rates.signal)


def test_noises_are_normal_and_times_uniform(trainer):
    images, noises, signal = draw(trainer)
    np.testing.assert_allclose(images[0], NORMALISER.normalise(PHOTOS[0] / np.float32(255.0)), atol=1e-5)
    error = 1.0 / np.sqrt(noises.size)
    assert abs(noises.mean()) < 4 * error
    assert abs(noises.std() - 1.0) < 4 * error
    assert len({noise.tobytes() for noise in noises}) == DRAWN
    start, end = np.arccos([0.95, 0.02])
    times = np.sort((np.arccos(signal.ravel()) - start) / (end - start))
    np.testing.assert_allclose(times, np.linspace(0.0, 1.0, DRAWN), atol=0.17)


def test_draws_depend_on_seed_and_step_alone(trainer):
    reseeded = Trainer(dataclasses.replace(CONFIG, seed=1), 16, NORMALISER)
    noises = [draw(*arguments)[1] for arguments in ((trainer,), (trainer,), (trainer, 1), (reseeded,))]
    np.testing.assert_array_equal(noises[0], noises[1])
    assert len({noise.tobytes() for noise in noises}) == 3


def test_flips_mirror_about_half_of_the_photos_left_to_right():
    images, _, _ = draw(Trainer(dataclasses.replace(CONFIG, flip=True), 16, NORMALISER), training=True)
    whole = NORMALISER.normalise(PHOTOS[0] / np.float32(255.0))
    straight = [np.allclose(image, whole, atol=1e-5) for image in images]
    mirrored = [np.allclose(image, whole[:, ::-1], atol=1e-5) for image in images]
    assert all(one != other for one, other in zip(straight, mirrored, strict=True))
    assert 30 <= sum(mirrored) <= 70


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow's graphs")
def test_sums_of_gradients_are_taken_in_one_order():
    """Activations as large as these make TensorFlow's graph optimiser sum in the order in which parts get ready."""
    from tensorflow.python.eager import context

    network = NetworkConfig(widths=(16, 16), block_depth=1)
    config = dataclasses.replace(CONFIG, network=network, stages=(Stage(64, 1.0),), batch_size=64)
    trainer = Trainer(config, 64, NORMALISER)
    photos = ops.convert_to_tensor(np.zeros((1, 64, 64, 3), np.uint8))
    context.context().enable_graph_collection()
    try:
        trainer.train_steps(trainer.initial_state(), photos, np.zeros((1, 64), np.int32), 0, np.zeros(1, np.float32))
        graphs = context.context().export_run_metadata().partition_graphs
    finally:
        context.context().disable_graph_collection()
    operations = {node.op for graph in graphs for node in graph.node}
    assert "AddN" in operations
    assert not operations & {"TemporaryVariable", "AssignAdd", "AccumulateNV2"}
