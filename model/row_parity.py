"""Whether a batch leaves its rows the bits that they have alone: tried on this machine, since no library promises it.

In which order a kernel adds up may depend on how many rows it is given. Those that TensorFlow takes where there is
AVX-512 go about it alike in every batch, those for AVX2 do not, and the next processor's are not for us to guess.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from keras import ops

from model.bundle import Bundle
from model.noise import starting_noise

Tensor = Any
Advance = Callable[[Tensor, Tensor, npt.NDArray[np.float32]], tuple[Tensor, Tensor]]
"""As ``Sampler.advance``: (noisy images, last images, rates) to (noisy images, predicted images)."""


def rows_are_as_alone(advance: Advance, bundle: Bundle, count: int) -> bool:
    """Whether each of ``count`` rows that are advanced together has the very bits that it has alone.

    Tried on noise, each row at another point of its way and between other classes.
    """
    noisy_images = np.stack([starting_noise(seed, bundle.image_size) for seed in range(count)])
    last_images = 0.5 * noisy_images[::-1]
    rates = bundle.schedule.step_rates(count + 2, "multistep")[1:-1]
    if classes := bundle.network_config.classes:
        class_weights = np.random.default_rng(0).dirichlet((0.3,) * classes, count)
        rates = np.concatenate([rates, class_weights.astype(np.float32)], axis=1)

    def advanced(rows: slice) -> npt.NDArray[np.float32]:
        parts = advance(noisy_images[rows], last_images[rows], rates[None, rows])
        return np.stack([ops.convert_to_numpy(part) for part in parts])

    together = advanced(slice(count))
    alone = np.concatenate([advanced(slice(row, row + 1)) for row in range(count)], axis=1)
    return np.array_equal(together, alone, equal_nan=True)
