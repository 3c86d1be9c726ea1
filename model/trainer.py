"""Loss, optimiser, moving average: the training step, as pure functions of a state, on every Keras backend."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from model.backend import compile_function, value_and_gradients
from model.config import TrainConfig
from model.diffusion import denoise, mix
from model.loss import error, min_snr_weights, target
from model.network import build_network
from model.normaliser import Normaliser
from model.optimizer import build_optimizer
from model.reproducible import reproducible
from model.schedule import Rates, Schedule

Tensor = Any
Tensors = list[Any]


_SEEDS_PER_STEP = 16
"""A step draws a few times, and each draw counts the seed up by one: so many keep the steps apart."""
_CLASS_DRAWS = 8
"""Where in a step's seeds the draws begin that tell whose class is dropped, so that the others are as without."""


class TrainState(NamedTuple):
    """All that one training step hands to the next, as tensors of the backend; what a checkpoint keeps."""

    weights: Tensors
    """The trained weights."""
    statistics: Tensors
    """Batch norm's moving means and variances."""
    optimizer: Tensors
    ema_weights: Tensors
    ema_statistics: Tensors
    second_ema_weights: Tensors = ()  # type: ignore[assignment]
    """Of ``TrainConfig.second_ema``; empty without it."""
    second_ema_statistics: Tensors = ()  # type: ignore[assignment]


class Losses(NamedTuple):
    """Means over a batch, of the predicted noise and of the predicted image, whatever it is that is trained on."""

    noise: Tensor
    image: Tensor


class Trainer:
    """The network, its optimiser and the compiled steps for one image size.

    Nothing in it changes while training: ``TrainState`` in, ``TrainState`` out. Random numbers are a function of
    ``(config.seed, step)`` alone, so that a resumed run draws what it would have drawn.
    """

    def __init__(
        self, config: TrainConfig, image_size: int, normaliser: Normaliser, schedule: Schedule | None = None
    ) -> None:
        self.config = config
        self.schedule = schedule or config.schedule
        self._train_schedule = self.schedule
        if config.train_time_power is not None:
            self._train_schedule = dataclasses.replace(self.schedule, time_power=config.train_time_power)
        self.image_size = image_size
        self.network = build_network(config.network, image_size, config.precision, config.seed)
        self.optimizer = build_optimizer(config, self.network)
        self._normaliser = normaliser
        self._random = keras.random.SeedGenerator(config.seed)
        self._step = reproducible(compile_function(self._train_step))
        self._scan = compile_function(self._train_steps)
        self._validate = compile_function(self._validation_losses)

    def initial_state(self) -> TrainState:
        """The state before the first step; the averages begin at the initial weights."""
        # Tensors, as in later states: TensorFlow would compile the step for variables, then for tensors once more.
        weights, statistics = (
            [ops.convert_to_tensor(ops.convert_to_numpy(variable.value)) for variable in variables]
            for variables in (self.network.trainable_variables, self.network.non_trainable_variables)
        )
        second = ([], []) if self.config.second_ema is None else (list(weights), list(statistics))
        return TrainState(
            weights, statistics, self.optimizer.initial_state(weights), list(weights), list(statistics), *second
        )

    def train_steps(
        self,
        state: TrainState,
        photos: Tensor,
        rows: npt.NDArray[np.int32],
        step: int,
        learning_rates: npt.NDArray[np.float32],
        labels: Tensor | None = None,
    ) -> tuple[TrainState, Losses]:
        """Train k steps in one compiled call.

        Args:
            photos: uint8 [photos, s, s, 3] on the device.
            labels: int32 [photos], their classes, on the device; needed where the network has classes.
            rows: [k, batch], the photos of each step.
            step: number of steps trained before these, of the whole run.
            learning_rates: [k].

        Returns:
            The new state, and the losses of each step, [k].
        """
        numbers = np.arange(step, step + len(rows))
        seeds = np.stack([np.full_like(numbers, self.config.seed), numbers * _SEEDS_PER_STEP], axis=1)
        plan = [rows, ops.convert_to_tensor(seeds, self._random.state.dtype), learning_rates, self._decays(numbers)]
        labels = self._labels(labels, len(photos))
        if len(rows) > 1 and keras.backend.backend() == "jax":
            carry, losses = self._scan(list(state), photos, labels, plan)
            return TrainState(*carry), Losses(*losses)
        # TensorFlow's scan cannot carry tensors of different shapes; its steps are called one by one.
        step_losses = []
        for number in range(len(rows)):
            state, losses = self._step(state, photos, labels, *(part[number] for part in plan))
            step_losses.append(losses)
        return state, Losses(*(ops.stack(kind) for kind in zip(*step_losses, strict=True)))

    def validation_losses(
        self, state: TrainState, photos: Tensor, batch: int, second: bool = False, labels: Tensor | None = None
    ) -> Losses:
        """The averaged network's losses on one batch of photos, with noises drawn from the batch's number."""
        seed = ops.convert_to_tensor([self.config.seed + 1, batch * _SEEDS_PER_STEP], self._random.state.dtype)
        return Losses(*self._validate(*_averages(state, second), photos, self._labels(labels, len(photos)), seed))

    def ema_network(self, state: TrainState, second: bool = False) -> keras.Model:
        """A float32 network with averaged weights, of the first average or the second: what is sampled and shipped."""
        network = build_network(self.config.network, self.image_size, "float32", seed=None)
        weights, statistics = _averages(state, second)
        for variable, value in zip(network.trainable_variables, weights, strict=True):
            variable.assign(value)
        for variable, value in zip(network.non_trainable_variables, statistics, strict=True):
            variable.assign(value)
        return network

    def _labels(self, labels: Tensor | None, photos: int) -> Tensor:
        """What the compiled functions are given: zeros, which they do not use, where there are no classes."""
        if labels is None:
            if self.config.network.classes:
                raise ValueError("labels: the network has classes, so that it needs those of the photos")
            return np.zeros(photos, np.int32)
        return labels

    def _decays(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Of both averages at these steps of the run: [k, 2]."""
        second = self.config.ema if self.config.second_ema is None else self.config.second_ema
        decays = np.repeat(np.array([[self.config.ema, second]], np.float32), len(numbers), axis=0)
        if self.config.ema_warmup:
            decays = np.minimum(decays, ((1.0 + numbers) / (10.0 + numbers))[:, None]).astype(np.float32)
        return decays

    def _train_steps(self, carry: Tensors, photos: Tensor, labels: Tensor, plan: Tensors) -> tuple[Tensors, Tensors]:
        """A compiled loop over the steps of ``plan``, each part of which holds one row a step."""

        def body(carry: Tensors, step: Tensors) -> tuple[Tensors, Tensors]:
            state, losses = self._train_step(TrainState(*carry), photos, labels, *step)
            return list(state), list(losses)

        return ops.scan(body, carry, plan)

    def _train_step(
        self,
        state: TrainState,
        photos: Tensor,
        labels: Tensor,
        rows: Tensor,
        seed: Tensor,
        learning_rate: Tensor,
        decays: Tensor,
    ) -> tuple[TrainState, Losses]:
        images = ops.take(photos, rows, axis=0)
        images, noises, rates = self._draw(images, seed, training=True)
        conditions = self._conditions(ops.take(labels, rows, axis=0), seed)
        _, (losses, statistics), gradients = value_and_gradients(
            self._loss, state.weights, state.statistics, images, noises, rates, conditions, True
        )
        weights, optimizer = self.optimizer.apply(state.weights, gradients, state.optimizer, learning_rate)

        def average(averages: Tensors, values: Tensors, decay: Tensor) -> Tensors:
            return [decay * average + (1.0 - decay) * value for average, value in zip(averages, values, strict=True)]

        averages = [
            average(state.ema_weights, weights, decays[0]),
            average(state.ema_statistics, statistics, decays[0]),
        ]
        if state.second_ema_weights:
            averages += [
                average(state.second_ema_weights, weights, decays[1]),
                average(state.second_ema_statistics, statistics, decays[1]),
            ]
        else:
            averages += [[], []]
        return TrainState(weights, statistics, optimizer, *averages), losses

    def _validation_losses(
        self, weights: Tensors, statistics: Tensors, photos: Tensor, labels: Tensor, seed: Tensor
    ) -> Losses:
        images, noises, rates = self._draw(photos, seed, training=False)
        conditions = self._conditions(labels, None)
        _, (losses, _) = self._loss(weights, statistics, images, noises, rates, conditions, False)
        return losses

    def _draw(self, photos: Tensor, seed: Tensor, training: bool) -> tuple[Tensor, Tensor, Rates]:
        """Normalised images, their noises and their rates, all from one seed."""
        count = photos.shape[0]
        images = self._normaliser.normalise(ops.cast(photos, "float32") / 255.0)
        with keras.StatelessScope(state_mapping=[(self._random.state, seed)]):
            noises = keras.random.normal(images.shape, seed=self._random)
            times = keras.random.uniform((count, 1, 1, 1), seed=self._random)
            if training and self.config.stratified_times:
                times = (times + ops.reshape(ops.arange(count, dtype="float32"), (count, 1, 1, 1))) / count
            if training and self.config.flip:
                mirrored = keras.random.uniform((count, 1, 1, 1), seed=self._random) < 0.5
                images = ops.where(mirrored, ops.flip(images, axis=2), images)
        return images, noises, (self._train_schedule if training else self.schedule).rates(times, ops)

    def _conditions(self, labels: Tensor, seed: Tensor | None) -> Tensors:
        """The network's inputs beside the noisy images and their noise: class weights, or none."""
        classes = self.config.network.classes
        if not classes:
            return []
        class_weights = ops.one_hot(labels, classes, dtype="float32")
        if seed is not None:
            # Half-way to the seeds of the next step: ``_draw`` does not come so far.
            with keras.StatelessScope(
                state_mapping=[(self._random.state, seed + ops.convert_to_tensor([0, _CLASS_DRAWS], seed.dtype))]
            ):
                told = keras.random.uniform((labels.shape[0], 1), seed=self._random) >= self.config.class_drop
            class_weights = class_weights * ops.cast(told, "float32")
        return [class_weights]

    def _loss(
        self,
        weights: Tensors,
        statistics: Tensors,
        images: Tensor,
        noises: Tensor,
        rates: Rates,
        conditions: Tensors,
        training: bool,
    ) -> tuple[Tensor, tuple[Losses, Tensors]]:
        output, new_statistics = None, statistics

        def network(inputs: Tensors) -> Tensor:
            nonlocal output, new_statistics
            output, new_statistics = self.network.stateless_call(
                weights, statistics, [*inputs, *conditions], training=training
            )
            return output

        kind, prediction = self.config.loss, self.config.network.prediction
        pred_noises, pred_images = denoise(network, mix(images, noises, rates), rates, prediction)
        losses = Losses(ops.mean(error(kind, noises - pred_noises)), ops.mean(error(kind, images - pred_images)))
        if prediction == "noise" and self.config.min_snr is None:
            return losses.noise, (losses, new_statistics)
        errors = error(kind, target(prediction, images, noises, rates) - output)
        if self.config.min_snr is not None:
            errors = errors * min_snr_weights(prediction, rates, self.config.min_snr)
        return ops.mean(errors), (losses, new_statistics)


def _averages(state: TrainState, second: bool) -> tuple[Tensors, Tensors]:
    """Weights and statistics of one of the averages."""
    if second:
        return state.second_ema_weights, state.second_ema_statistics
    return state.ema_weights, state.ema_statistics
