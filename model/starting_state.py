"""Where training starts that does not start from random weights: at a checkpoint, or with the weights of a bundle."""

from __future__ import annotations

import keras
from keras import ops

from model.bundle import Bundle
from model.checkpoint import Checkpoint
from model.config import NetworkConfig
from model.grown_weights import can_grow, grown_weights
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

    ``network`` is the one to be trained, by ``config``. It may be larger than the bundle's (see ``can_grow``), and
    computes at first what that does.

    Raises RunError where the bundle's network cannot grow to that.
    """
    if not can_grow(bundle.network_config, config):
        raise RunError(
            f"begin_from: the network of {bundle.name} has another shape than that to be trained, and cannot grow to "
            f"it ({bundle.network_config}, not {config}); begin from a bundle of the same preset, or anew"
        )
    grown = grown_weights(bundle.network, network)
    weights = [grown[variable.path] for variable in network.trainable_variables]
    statistics = [grown[variable.path] for variable in network.non_trainable_variables]
    values = {"weights": weights, "statistics": statistics}
    begun = {
        field: [ops.convert_to_tensor(value) for value in variables]
        for field, held in template._asdict().items()
        for kind, variables in values.items()
        if held and field.endswith(kind)
    }
    return template._replace(**begun)
