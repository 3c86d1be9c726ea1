"""Where training starts that does not start from random weights: at a checkpoint, or with the weights of a bundle."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from keras import ops

from model.bundle import Bundle
from model.checkpoint import Checkpoint
from model.config import NetworkConfig
from model.network import CLASS_EMBEDDING
from model.run_error import RunError
from model.trainer import TrainState


def state_from_checkpoint(checkpoint: Checkpoint, template: TrainState) -> TrainState:
    """A checkpoint's tensors on the device. Raises RunError where they do not fit the network."""
    groups = {}
    for name, expected in template._asdict().items():
        values = checkpoint.groups.get(name, [])
        if [value.shape for value in values] != [tuple(value.shape) for value in expected]:
            raise RunError(f"the checkpoint's {name} do not fit the network; give another --out to begin anew")
        groups[name] = [ops.convert_to_tensor(value) for value in values]
    return TrainState(**groups)


def state_from_bundle(bundle: Bundle, config: NetworkConfig, template: TrainState, network: keras.Model) -> TrainState:
    """The state before the first step, with a bundle's weights as weights and as averages.

    A bundle without classes serves a network that has them: what it is told of them begins as nothing.

    Raises RunError where its network has another shape.
    """
    classes = bundle.network_config.classes or config.classes
    if dataclasses.replace(bundle.network_config, prediction=config.prediction, classes=classes) != config:
        raise RunError(
            f"begin_from: the network of {bundle.name} has another shape than that to be trained "
            f"({bundle.network_config}, not {config}); begin from a bundle of the same preset, or anew"
        )
    weights = [ops.convert_to_numpy(variable.value) for variable in bundle.network.trainable_variables]
    if not bundle.network_config.classes:
        for index, variable in enumerate(network.trainable_variables):
            if variable.path.startswith(CLASS_EMBEDDING):
                weights.insert(index, np.zeros(variable.shape, np.float32))
    statistics = [ops.convert_to_numpy(variable.value) for variable in bundle.network.non_trainable_variables]
    values = {"weights": weights, "statistics": statistics}
    begun = {
        field: [ops.convert_to_tensor(value) for value in variables]
        for field, held in template._asdict().items()
        for kind, variables in values.items()
        if held and field.endswith(kind)
    }
    return template._replace(**begun)
