"""Glorot's uniform initial weights, drawn on the host: the same on every backend, and at once."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any


class HostGlorotUniform(keras.initializers.Initializer):
    """Uniform within ``sqrt(6 / (fan in + fan out))`` of zero (Glorot and Bengio 2010, eq. 16).

    As ``keras.initializers.GlorotUniform`` has it, but drawn by NumPy. JAX compiles a generator for each shape that it
    draws, and takes half a second for it on a CPU; and the backends' own generators draw other numbers.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
        """Weights of ``shape``, [..., channels in, channels out], of which there must be both."""
        *window, channels_in, channels_out = shape
        limit = math.sqrt(6.0 / (math.prod(window) * (channels_in + channels_out)))
        weights = np.random.default_rng(self.seed).uniform(-limit, limit, shape).astype(np.float32)
        return ops.convert_to_tensor(weights, dtype or keras.config.floatx())

    def get_config(self) -> dict[str, int]:
        return {"seed": self.seed}
