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
from model.classes import ClassWeights, class_weights, class_weights_of, with_class_weights
from model.diffusion import Network, ddim_step
from model.guidance import guided
from model.noise import starting_noise
from model.row_parity import rows_are_as_alone
from model.schedule import RATE_COLUMNS, STANDING_STILL, Rates, SamplerName

Tensor = Any


class Sampler:
    """Runs a bundle's network over trajectories.

    Pixels depend on the bundle, the seed, the number of steps and the kind of steps alone: rows never influence one
    another, and a row's bits are the same in a batch of any size, beside any others. With ``exact`` false the last bits
    may depend on the size of the batch, where that is faster: for what is looked at or scored once and then forgotten.
    """

    def __init__(self, bundle: Bundle, exact: bool = True) -> None:
        self.bundle = bundle
        network = bundle.network
        self._weights = [variable.value for variable in network.trainable_variables]
        self._statistics = [variable.value for variable in network.non_trainable_variables]
        self._loops_on_device = accelerated()
        self._exact = exact
        self._rows_at_once = _rows_at_once(exact)
        self._as_alone = {1: True}
        if keras.backend.backend() == "tensorflow" and exact:
            # Constants of the graph: convolutions keep their weights in the layout they like best. TensorFlow never
            # lets go of a graph's constants, so this is for samplers that live as long as their process.
            arrays = [ops.convert_to_numpy(value) for value in (*self._weights, *self._statistics)]
            split = len(self._weights)

            def step(*images_and_rates: Tensor) -> tuple[Tensor, Tensor]:
                constants = [ops.convert_to_tensor(array) for array in arrays]
                return self._step(constants[:split], constants[split:], *images_and_rates)

            def steps(*images_and_rates: Tensor) -> tuple[Tensor, Tensor]:
                constants = [ops.convert_to_tensor(array) for array in arrays]
                return self._steps(constants[:split], constants[split:], *images_and_rates)

            images = (None, bundle.image_size, bundle.image_size, 3)
            table = (None, RATE_COLUMNS + bundle.network_config.classes)
            self._compiled_step = compile_function(step, [images, images, table])
            self._compiled_steps = compile_function(steps)
        else:
            compiled_step, compiled_steps = compile_function(self._step), compile_function(self._steps)
            self._compiled_step = lambda *arguments: compiled_step(self._weights, self._statistics, *arguments)
            self._compiled_steps = lambda *arguments: compiled_steps(self._weights, self._statistics, *arguments)

    def advance(
        self, noisy_images: Tensor, last_images: Tensor, rates: npt.NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        """Take k steps with every row, each row with its own rates.

        Args:
            noisy_images: float32 [n, s, s, 3], of numpy or the backend (then they stay on the device).
            last_images: those predicted in the step before, of the same kind; zeros before the first step.
            rates: [k, n, 5 + classes], k at least 1; a row is one of ``Schedule.step_rates``, or ``STANDING_STILL``,
                and the class weights of its image where the network has classes.

        Returns:
            (noisy images, images predicted in the last step), both normalised float32 [n, s, s, 3] of the backend.
            Compiled once (for each k where there is an accelerator, on which the k steps are one call). The first call
            with so many rows may take many times as long as the next: it finds out whether they may share one.
        """
        count = len(noisy_images)
        size = self._rows_at_once or (count if self._may_share_a_call(count) else 1)
        if size == count:
            return self._advance(noisy_images, last_images, rates)
        # Where host and device share their memory, numpy takes rows out in a hundredth of the time of an operation.
        library = ops if self._loops_on_device else np
        if library is np:
            noisy_images, last_images = map(ops.convert_to_numpy, (noisy_images, last_images))
        parts = []
        for start in range(0, count, size):
            # The last call is filled up with copies of the last row, whose results are thrown away.
            rows = np.minimum(np.arange(start, start + size), count - 1)
            noisy, last = (library.take(images, rows, axis=0) for images in (noisy_images, last_images))
            stand_still = np.all(rates[:, rows, :RATE_COLUMNS] == STANDING_STILL)
            parts.append((noisy, noisy) if stand_still else self._advance(noisy, last, rates[:, rows]))
        noisy, last = (
            ops.convert_to_tensor(library.concatenate(images)[:count]) for images in zip(*parts, strict=True)
        )
        return noisy, last

    def _may_share_a_call(self, count: int) -> bool:
        """Whether so many rows in one call leave one another's bits alone; tried when first there are so many.

        Where fewer did not, they are taken not to, untried: with eight rows that have to be advanced one by one the
        trial takes a second.
        """
        if count not in self._as_alone:
            fewer_did = all(as_alone for fewer, as_alone in self._as_alone.items() if fewer < count)
            self._as_alone[count] = not self._exact or (
                fewer_did and rows_are_as_alone(self._advance, self.bundle, count)
            )
        return self._as_alone[count]

    def _advance(
        self, noisy_images: Tensor, pred_images: Tensor, rates: npt.NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]:
        if self._loops_on_device:
            return self._compiled_steps(noisy_images, pred_images, ops.convert_to_tensor(rates))
        for step_rates in rates:
            noisy_images, pred_images = self._compiled_step(
                noisy_images, pred_images, ops.convert_to_tensor(step_rates)
            )
        return noisy_images, pred_images

    def to_uint8(self, pred_images: Tensor) -> npt.NDArray[np.uint8]:
        """Normalised images [n, s, s, 3] as pixels 0..255; computed on the host, which rounds the same everywhere."""
        images = self.bundle.normaliser.denormalise(ops.convert_to_numpy(pred_images))
        return np.rint(np.clip(images, 0.0, 1.0) * np.float32(255.0)).astype(np.uint8)

    def sample(
        self, seeds: Sequence[int], steps: int, sampler: SamplerName = "ddim", kind: str | None = None
    ) -> npt.NDArray[np.uint8]:
        """The flowers of ``seeds`` at ``steps`` steps by a sampler: uint8 [n, s, s, 3].

        All are of the class of the name ``kind``; None: of those that the seeds decide for.

        Raises:
            ValueError: the bundle knows no class of that name.
        """
        noisy_images = np.stack([starting_noise(seed, self.bundle.image_size) for seed in seeds])
        step_rates = self.bundle.schedule.step_rates(steps, sampler)
        rates = np.stack([with_class_weights(step_rates, self._told(seed, kind)) for seed in seeds], axis=1)
        pred_images = np.zeros_like(noisy_images)
        for step in rates:
            noisy_images, pred_images = self.advance(noisy_images, pred_images, step[None])
        return self.to_uint8(pred_images)

    def _told(self, seed: int, kind: str | None) -> ClassWeights:
        if kind is not None:
            return class_weights_of(kind, self.bundle.class_names)
        return class_weights(seed, self.bundle.class_counts)

    def _step(
        self, weights: list[Tensor], statistics: list[Tensor], noisy_images: Tensor, last_images: Tensor, table: Tensor
    ) -> tuple[Tensor, Tensor]:
        def unguided(inputs: list[Tensor]) -> Tensor:
            outputs, _ = self.bundle.network.stateless_call(weights, statistics, inputs, training=False)
            return outputs

        *columns, correction = [ops.reshape(table[:, column], (-1, 1, 1, 1)) for column in range(RATE_COLUMNS)]
        rates, next_rates = Rates(*columns[:2]), Rates(*columns[2:])
        network: Network = unguided
        prediction = self.bundle.network_config.prediction
        if self.bundle.network_config.classes:
            network = guided(unguided, table[:, RATE_COLUMNS:], rates, self.bundle.guidance, prediction, ops)
        return ddim_step(network, noisy_images, last_images, rates, next_rates, correction, prediction)

    def _steps(
        self, weights: list[Tensor], statistics: list[Tensor], noisy_images: Tensor, last_images: Tensor, rates: Tensor
    ) -> tuple[Tensor, Tensor]:
        def body(carry: tuple[Tensor, Tensor], step_rates: Tensor) -> tuple[tuple[Tensor, Tensor], None]:
            return self._step(weights, statistics, *carry, step_rates), None

        carry, _ = ops.scan(body, (noisy_images, last_images), rates)
        return carry


def _rows_at_once(exact: bool) -> int | None:
    """Rows of each call, where that has to be a fixed number; None where it is to be tried for each number of rows.

    XLA picks other code for other shapes, so there all calls have one: a single row on a CPU, where batches gain
    little, many on an accelerator, where rows that are not needed cost next to nothing and other shapes a compilation.
    What TensorFlow's CPU kernels do depends on the processor. On a CPU any number will do where bits do not matter.
    """
    if accelerated():
        return 32
    return 1 if exact and keras.backend.backend() != "tensorflow" else None
