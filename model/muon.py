"""Muon: steps in which all directions of a weight matrix count alike, as a pure function of its state.

As with AdamW, Keras' own cannot be one on TensorFlow. Where both apply, to matrices, the numbers are those of
``keras.optimizers.Muon``, which a test holds them to; the kernels of convolutions, which make up nearly all of a U-Net,
it leaves to AdamW.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from keras import ops

from model.adamw import AdamW

Tensor = Any
Tensors = list[Any]

_ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic polynomial that ``orthogonalised`` applies to the singular values: steep at 0, wavering about 1."""
_UPDATE_SIZE = 0.2
"""Root mean square of a step, in learning rates: that of AdamW, so that one learning rate does for both."""


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix with its singular values brought near to 1 (between 0.7 and 1.2), float32 [rows, columns].

    Five Newton-Schulz iterations (Jordan et al. 2024, Muon: an optimizer for hidden layers). Singular values below a
    thousandth of the root of their squares' sum do not come so far.

    An iteration multiplies the matrix by a polynomial of its Gram matrix, and so the next Gram matrix by its square:
    what is iterated here is the Gram matrix of the shorter side, and the long matrix is multiplied once, at the end.
    """
    rows, columns = matrix.shape
    tall = rows > columns
    x = matrix / (ops.sqrt(ops.sum(matrix * matrix)) + 1e-7)
    gram = ops.matmul(ops.transpose(x), x) if tall else ops.matmul(x, ops.transpose(x))
    a, b, c = _COEFFICIENTS
    identity = ops.eye(min(rows, columns))
    product = identity
    for iteration in range(_ITERATIONS):
        polynomial = a * identity + b * gram + c * ops.matmul(gram, gram)
        product = ops.matmul(polynomial, product) if iteration else polynomial
        if iteration < _ITERATIONS - 1:
            gram = ops.matmul(polynomial, ops.matmul(gram, polynomial))
    return ops.matmul(x, product) if tall else ops.matmul(product, x)


@dataclass(frozen=True)
class Muon:
    """Muon for some weights, AdamW for the others.

    A kernel [height, width, inputs, outputs] is taken as a matrix of height x width x inputs rows. Steps are of AdamW's
    size, and the weight decay is AdamW's (Liu et al. 2025, Muon is scalable for LLM training, eq. 4).
    """

    chosen: tuple[bool, ...]
    """Of each weight, whether it is stepped by Muon; such a weight has two dimensions or more."""
    adamw: AdamW = dataclasses.field(default_factory=AdamW)
    """For the others."""
    momentum: float = 0.95
    """Nesterov's."""

    def initial_state(self, weights: Tensors) -> Tensors:
        """AdamW's state of its weights, then the momentum of Muon's, each of a weight's shape."""
        ours, others = self._parted(weights)
        return [*self.adamw.initial_state(others), *[ops.zeros_like(weight) for weight in ours]]

    def apply(
        self, weights: Tensors, gradients: Tensors, state: Tensors, learning_rate: Tensor
    ) -> tuple[Tensors, Tensors]:
        """One step: (weights, state) after it."""
        ours, others = self._parted(weights)
        our_gradients, other_gradients = self._parted(gradients)
        split = len(state) - len(ours)
        others, state_of_others = self.adamw.apply(others, other_gradients, state[:split], learning_rate)
        decay = self.adamw.weight_decay * (learning_rate if self.adamw.scale_decay else 1.0)
        updated, momenta = [], []
        for weight, gradient, momentum in zip(ours, our_gradients, state[split:], strict=True):
            momentum = self.momentum * momentum + gradient
            matrix = ops.reshape(gradient + self.momentum * momentum, (-1, weight.shape[-1]))
            size = _UPDATE_SIZE * math.sqrt(max(matrix.shape))  # of rank r, a matrix of n x r has the norm sqrt(r)
            step = ops.reshape(orthogonalised(matrix), weight.shape)
            momenta.append(momentum)
            updated.append(weight - weight * decay - learning_rate * size * step)
        return self._joined(updated, others), [*state_of_others, *momenta]

    def _parted(self, values: Tensors) -> tuple[Tensors, Tensors]:
        pairs = list(zip(self.chosen, values, strict=True))
        return [value for chosen, value in pairs if chosen], [value for chosen, value in pairs if not chosen]

    def _joined(self, ours: Tensors, others: Tensors) -> Tensors:
        next_of = {True: iter(ours), False: iter(others)}
        return [next(next_of[chosen]) for chosen in self.chosen]
