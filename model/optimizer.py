"""Which optimiser a training step uses, chosen by name."""

from __future__ import annotations

from typing import Any, Protocol

import keras

from model.adamw import AdamW
from model.config import TrainConfig
from model.muon import Muon
from model.network import hidden_matrices

Tensor = Any
Tensors = list[Any]


class Optimizer(Protocol):
    """A pure function from weights, gradients and its own state to weights and state."""

    def initial_state(self, weights: Tensors) -> Tensors:
        """The state before the first step."""
        ...

    def apply(
        self, weights: Tensors, gradients: Tensors, state: Tensors, learning_rate: Tensor
    ) -> tuple[Tensors, Tensors]:
        """One step: (weights, state) after it."""
        ...


def build_optimizer(config: TrainConfig, network: keras.Model) -> Optimizer:
    """The optimiser that the config names, for the trainable weights of its network."""
    adamw = AdamW(config.weight_decay, config.scale_decay)
    return adamw if config.optimizer == "adamw" else Muon(tuple(hidden_matrices(network)), adamw)
