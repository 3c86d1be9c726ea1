"""AdamW as a pure function of its state.

Keras' own optimiser refuses to be one on TensorFlow (``stateless_apply`` raises there), and a training step that is the
same on every backend, compiled many steps at a time, needs one. The numbers are those of ``keras.optimizers.AdamW``; a
test holds them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

Tensor = Any
Tensors = list[Any]


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2)."""

    weight_decay: float = 1e-4
    """Share of every weight taken off a step: times the learning rate if ``scale_decay``, as it is if not."""
    scale_decay: bool = True
    """Keras and PyTorch scale the decay by the learning rate; TensorFlow Addons, and the paper, do not."""
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def initial_state(self, weights: Tensors) -> Tensors:
        """The number of steps so far, float32 [], then first and second moments, each of a weight's shape."""
        zeros = [ops.zeros_like(weight) for weight in weights]
        return [ops.zeros((), "float32"), *zeros, *[ops.zeros_like(weight) for weight in weights]]

    def apply(
        self, weights: Tensors, gradients: Tensors, state: Tensors, learning_rate: Tensor
    ) -> tuple[Tensors, Tensors]:
        """One step: (weights, state) after it."""
        count = len(weights)
        step = state[0] + 1.0
        rate = learning_rate * ops.sqrt(1.0 - ops.power(self.beta_2, step)) / (1.0 - ops.power(self.beta_1, step))
        decay = self.weight_decay * (learning_rate if self.scale_decay else 1.0)
        means, squares, updated = [], [], []
        for weight, gradient, mean, square in zip(
            weights, gradients, state[1 : count + 1], state[count + 1 :], strict=True
        ):
            mean = mean + (gradient - mean) * (1.0 - self.beta_1)
            square = square + (gradient * gradient - square) * (1.0 - self.beta_2)
            means.append(mean)
            squares.append(square)
            updated.append(weight - weight * decay - rate * mean / (ops.sqrt(square) + self.epsilon))
        return updated, [step, *means, *squares]
