"""What is measured: the bundle that ships, or its like with random weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from model.bundle import Bundle, default_bundle_path, load_bundle
from model.classes import class_weights, with_class_weights
from model.config import PRESETS
from model.guidance import Guidance
from model.network import build_network


def default_bundle(precision: str | None = None) -> Bundle:
    """The bundle that ships, computing in another precision if one is given."""
    bundle = load_bundle(default_bundle_path())
    if precision is None or precision == bundle.precision:
        return bundle
    network = build_network(bundle.network_config, bundle.image_size, precision)
    for variable, trained in zip(network.variables, bundle.network.variables, strict=True):
        variable.assign(trained.value)
    return dataclasses.replace(bundle, network=network, precision=precision)


def reference_bundle(precision: str) -> Bundle:
    """The network of the Keras DDIM example at 64 x 64, untrained: its speed does not depend on its weights."""
    config = PRESETS["flowers64"]
    bundle = default_bundle()
    return dataclasses.replace(
        bundle,
        network_config=config.network,
        schedule=config.schedule,
        image_size=config.image_size,
        precision=precision,
        network=build_network(config.network, config.image_size, precision),
        class_names=(),
        class_counts=(),
        guidance=Guidance(),
    )


def step_inputs(bundle: Bundle, batch: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Noisy images [batch, s, s, 3] and what a step in the middle of a trajectory needs, [1, batch, 5 + classes]."""
    size = bundle.image_size
    images = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)
    return images, np.tile(trajectory_rows(bundle, 0, 20)[10], (1, batch, 1))


def trajectory_rows(bundle: Bundle, seed: int, steps: int) -> npt.NDArray[np.float32]:
    """What each step of a flower's way needs: [steps, 5 + classes]."""
    return with_class_weights(bundle.schedule.step_rates(steps), class_weights(seed, bundle.class_counts))
