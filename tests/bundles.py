"""Bundles for tests: a real network, so small that a step takes a millisecond, with weights from a seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from model.bundle import Card, save_bundle
from model.config import PRESETS
from model.guidance import Guidance
from model.network import build_network
from model.normaliser import Normaliser
from model.schedule import Schedule

TINY_IMAGE_SIZE = 16


def make_tiny_bundle(path: Path, seed: int = 0, classes: int = 0) -> Path:
    """Write a bundle with random weights, images of 16 x 16 pixels; another seed makes another content hash.

    With classes its network is told of so many, and guided by them.
    """
    network_config = dataclasses.replace(PRESETS["tiny"].network, embed_in_blocks=classes > 0, classes=classes)
    network = build_network(network_config, TINY_IMAGE_SIZE, seed=None)
    # Drawn by numpy, so that every Keras backend gets the same bundle; the last convolution too, which begins at zero
    # (all flowers would be their bare starting noise), but small, or every pixel would end up black or white.
    random = np.random.default_rng(seed)
    for kernel in network.trainable_variables:
        scale = 1.0 / np.sqrt(np.prod(kernel.shape[:-1])) if len(kernel.shape) > 1 else 0.1
        kernel.assign(random.normal(0.0, scale, kernel.shape))
    output = network.layers[-1].kernel
    output.assign(keras.ops.convert_to_numpy(output.value) * 0.2)
    save_bundle(
        path,
        name="tiny",
        network=network,
        network_config=network_config,
        # A milder schedule than that for training: an untrained network removes no noise, which at a signal rate of
        # 0.02 would be blown up fiftyfold, to nothing but black and white.
        schedule=Schedule(min_signal_rate=0.6),
        normaliser=Normaliser(np.array([0.5, 0.4, 0.3], np.float32), np.array([0.3, 0.25, 0.2], np.float32)),
        image_size=TINY_IMAGE_SIZE,
        card=Card(training_data={"source": "none: random weights for tests"}),
        class_names=tuple(f"kind {number}" for number in range(classes)),
        class_counts=tuple(range(1, classes + 1)),
        guidance=Guidance.parse("1.5,1.2:0.8,1.2:0.7:0.95,1.3:8") if classes else None,
    )
    return path
