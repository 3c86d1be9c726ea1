"""The two things that Keras 3 leaves to each backend: compiling a pure function, and differentiating one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

Tensors = list[Any]


def compile_function(
    function: Callable[..., Any], shapes: Sequence[tuple[int | None, ...]] | None = None
) -> Callable[..., Any]:
    """Compile a pure function of tensors, once for each set of shapes it is called with.

    TensorFlow: graph mode, with XLA where there is a GPU (on CPUs XLA's convolutions are slower than the graph's).
    JAX: jit. The function's own ``if`` and ``for`` are Python's on both; loops over tensors are ``keras.ops.scan``. (So
    TensorFlow need not read the source again to translate it: a run that compiles something new after hours would stop
    at files that have been changed meanwhile.) The arguments must be tensors or nested lists of them.

    Args:
        function: what to compile.
        shapes: of its arguments, if they are float32 tensors, with None for what may vary. A graph on a CPU is then
            compiled once for all of them, and its constants are in memory once: it loses no speed by that.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if accelerated():
            return tf.function(function, jit_compile=True, autograph=False)
        signature = None if shapes is None else [tf.TensorSpec(shape, tf.float32) for shape in shapes]
        return tf.function(function, input_signature=signature, autograph=False)
    import jax

    return jax.jit(function)


def value_and_gradients(
    loss: Callable[..., tuple[Any, Any]], variables: Tensors, *arguments: Any
) -> tuple[Any, Any, Tensors]:
    """Evaluate ``loss(variables, *arguments) -> (scalar, extras)`` and the scalar's gradients.

    Returns:
        (scalar, extras, gradients), one gradient for each of ``variables``. Works inside ``compile_function``.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(variables)
            value, extras = loss(variables, *arguments)
        return value, extras, tape.gradient(value, variables)
    import jax

    (value, extras), gradients = jax.value_and_grad(loss, has_aux=True)(variables, *arguments)
    return value, extras, gradients


def accelerated() -> bool:
    """Whether the backend computes on a GPU or TPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU"))
    import jax

    return jax.default_backend() != "cpu"
