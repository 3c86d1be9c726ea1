"""Training that gives the same bits each time it is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from model.backend import accelerated


def reproducible(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Have a compiled training step take its sums in one order.

    TensorFlow's graph optimiser, where it reckons that activations fill most of 256 MB, has gradients that meet at one
    tensor summed in whatever order they get ready, to save memory: the last bits then differ from run to run, and with
    them, after some steps, all weights. ``tf.config.experimental.enable_op_determinism`` leaves that as it is. So
    training goes without the graph optimiser, which costs some 4 % of a step at most. Nothing of that is true of XLA.
    """
    if keras.backend.backend() != "tensorflow" or accelerated():
        return compiled
    import tensorflow as tf

    name = "disable_meta_optimizer"

    def in_one_order(*arguments: Any) -> Any:
        before = bool(tf.config.optimizer.get_experimental_options().get(name))
        tf.config.optimizer.set_experimental_options({name: True})
        try:
            return compiled(*arguments)
        finally:
            tf.config.optimizer.set_experimental_options({name: before})

    return in_one_order
