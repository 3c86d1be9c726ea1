"""Whether a processor is the wrong one to train on in bfloat16: it may take many times as long as in float32.

With AVX-512 BF16 a step of ``flowers64-patch`` takes less time than in float32, with AVX2 it takes 11 times as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from model.backend import accelerated, compile_function, value_and_gradients
from model.config import TrainConfig

Tensor = Any

_MOST_SLOWDOWN = 2.0
"""From here on it is worth a word."""
_IMAGES, _SIDE, _WIDTH = 4, 16, 64
_ROUNDS = 3


def tell_of_slow_precision(config: TrainConfig, say: Callable[[str], None], slowdown: Callable[[], float]) -> None:
    """Say so where the config's precision is bfloat16 and ``slowdown()``, tried then alone, is far above 1."""
    if config.precision == "mixed_bfloat16" and not accelerated() and (times := slowdown()) > _MOST_SLOWDOWN:
        say(
            f"precision: mixed_bfloat16 takes this processor {times:.0f} times as long as float32; "
            "--precision float32 trains faster here (in a new folder, since a run keeps its precision)"
        )


def bfloat16_slowdown() -> float:
    """How many times as long as in float32 the gradients of a small convolution take here; takes half a second."""
    return _seconds("bfloat16") / _seconds("float32")


def _seconds(dtype: str) -> float:
    """The least of a few rounds: that of the processor, rather than of what else it does."""
    random = np.random.default_rng(0)
    images = ops.convert_to_tensor(random.normal(size=(_IMAGES, _SIDE, _SIDE, _WIDTH)).astype(np.float32))
    kernel = ops.convert_to_tensor(random.normal(size=(3, 3, _WIDTH, _WIDTH)).astype(np.float32))

    def loss(variables: list[Tensor]) -> tuple[Tensor, tuple[()]]:
        images, kernel = (ops.cast(variable, dtype) for variable in variables)
        return ops.sum(ops.square(ops.cast(ops.conv(images, kernel, padding="same"), "float32"))), ()

    def step(images: Tensor, kernel: Tensor) -> list[Tensor]:
        return value_and_gradients(loss, [images, kernel])[2]

    compiled = compile_function(step)
    compiled(images, kernel)  # compiles it

    def seconds() -> float:
        started = time.perf_counter()
        for gradient in compiled(images, kernel):
            ops.convert_to_numpy(gradient)  # waits for it
        return time.perf_counter() - started

    return min(seconds() for _ in range(_ROUNDS))
