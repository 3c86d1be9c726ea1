"""A whole trajectory on its own: the one compiled path that moves pixels, the reference for every batched use of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from model.backend import accelerated, compile_function
from model.bundle import Bundle
from model.diffusion import ddim_step
from model.noise import starting_noise
from model.schedule import Rates

Tensor = Any


class Sampler:
    """Runs a bundle's network over trajectories.

    Pixels depend on the bundle, the seed and the number of steps alone: rows never influence one another, and a row's
    bits are the same in a batch of any size.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        network = bundle.network
        self._weights = [variable.value for variable in network.trainable_variables]
        self._statistics = [variable.value for variable in network.non_trainable_variables]
        self._loops_on_device = accelerated()
        self._rows_at_once = _rows_at_once()
        if keras.backend.backend() == "tensorflow":
            # Constants of the graph: convolutions keep their weights in the layout they like best.
            arrays = [ops.convert_to_numpy(value) for value in (*self._weights, *self._statistics)]
            split = len(self._weights)

            def step(noisy_images: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
                constants = [ops.convert_to_tensor(array) for array in arrays]
                return self._step(constants[:split], constants[split:], noisy_images, rates)

            def steps(noisy_images: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
                constants = [ops.convert_to_tensor(array) for array in arrays]
                return self._steps(constants[:split], constants[split:], noisy_images, rates)

            side = bundle.image_size
            self._compiled_step = compile_function(step, [(None, side, side, 3), (None, 4)])
            self._compiled_steps = compile_function(steps)
        else:
            compiled_step, compiled_steps = compile_function(self._step), compile_function(self._steps)
            self._compiled_step = lambda *arguments: compiled_step(self._weights, self._statistics, *arguments)
            self._compiled_steps = lambda *arguments: compiled_steps(self._weights, self._statistics, *arguments)

    def advance(self, noisy_images: Tensor, rates: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """Take k DDIM steps with every row, each row with its own rates.

        Args:
            noisy_images: float32 [n, s, s, 3], of numpy or the backend (then they stay on the device).
            rates: [k, n, 4], k at least 1; a row is one of ``Schedule.step_rates``.

        Returns:
            (noisy images, images predicted in the last step), both normalised float32 [n, s, s, 3] of the backend.
            Compiled once (for each k where there is an accelerator, on which the k steps are one call).
        """
        count, size = len(noisy_images), self._rows_at_once
        if size in (None, count):
            return self._advance(noisy_images, rates)
        parts = []
        for start in range(0, count, size):
            # The last call is filled up with copies of the last row, whose results are thrown away.
            rows = np.minimum(np.arange(start, start + size), count - 1)
            parts.append(self._advance(ops.take(noisy_images, rows, axis=0), rates[:, rows]))
        noisy_parts, pred_parts = zip(*parts, strict=True)
        return ops.concatenate(noisy_parts)[:count], ops.concatenate(pred_parts)[:count]

    def _advance(self, noisy_images: Tensor, rates: npt.NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        if self._loops_on_device:
            return self._compiled_steps(noisy_images, ops.convert_to_tensor(rates))
        pred_images = noisy_images
        for step_rates in rates:
            noisy_images, pred_images = self._compiled_step(noisy_images, ops.convert_to_tensor(step_rates))
        return noisy_images, pred_images

    def to_uint8(self, pred_images: Tensor) -> npt.NDArray[np.uint8]:
        """Normalised images [n, s, s, 3] as pixels 0..255; computed on the host, which rounds the same everywhere."""
        images = self.bundle.normaliser.denormalise(ops.convert_to_numpy(pred_images))
        return np.rint(np.clip(images, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)

    def sample(self, seeds: Sequence[int], steps: int) -> npt.NDArray[np.uint8]:
        """The flowers of ``seeds`` at ``steps`` steps: uint8 [n, s, s, 3]."""
        noisy_images = np.stack([starting_noise(seed, self.bundle.image_size) for seed in seeds])
        rates = np.repeat(self.bundle.schedule.step_rates(steps)[:, None], len(seeds), axis=1)
        pred_images = noisy_images
        for step_rates in rates:
            noisy_images, pred_images = self.advance(noisy_images, step_rates[None])
        return self.to_uint8(pred_images)

    def _step(
        self, weights: list[Tensor], statistics: list[Tensor], noisy_images: Tensor, rates: Tensor
    ) -> tuple[Tensor, Tensor]:
        def network(inputs: list[Tensor]) -> Tensor:
            outputs, _ = self.bundle.network.stateless_call(weights, statistics, inputs, training=False)
            return outputs

        columns = [ops.reshape(rates[:, column], (-1, 1, 1, 1)) for column in range(4)]
        return ddim_step(network, noisy_images, Rates(*columns[:2]), Rates(*columns[2:]))

    def _steps(
        self, weights: list[Tensor], statistics: list[Tensor], noisy_images: Tensor, rates: Tensor
    ) -> tuple[Tensor, Tensor]:
        def body(carry: tuple[Tensor, Tensor], step_rates: Tensor) -> tuple[tuple[Tensor, Tensor], None]:
            return self._step(weights, statistics, carry[0], step_rates), None

        carry, _ = ops.scan(body, (noisy_images, noisy_images), rates)
        return carry


def _rows_at_once() -> int | None:
    """Rows of each call where a row's bits depend on their number; None where they do not, so that any number will do.

    TensorFlow's CPU kernels compute a row alike in every batch (tests hold them to it). XLA picks other code for other
    shapes, so there all calls have one: a single row on a CPU, where batches gain little, many on an accelerator, where
    rows that are not needed cost next to nothing.
    """
    if accelerated():
        return 32
    return None if keras.backend.backend() == "tensorflow" else 1
