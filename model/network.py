"""The U-Net that tells noise and image apart in a noisy image, and its sinusoidal embedding of the noise level."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers, ops

from model.attention import SelfAttention
from model.config import NetworkConfig
from model.initial_weights import HostGlorotUniform

Tensor = Any

CLASS_EMBEDDING = "class_embedding"
"""Name of the layer that holds a vector for each class."""
ATTENTION = "attention"
"""What the names of the layers of self-attention begin with."""
INPUT_LAYER = "pixels_in"
OUTPUT_LAYER = "pixels_out"


def hidden_matrices(network: keras.Model) -> list[bool]:
    """Of each trainable weight, whether it is a matrix between hidden layers, which is what Muon is for.

    It has two dimensions or more, and is neither at the pixels nor made of one vector a class (Jordan et al. 2024).
    """
    ends = (INPUT_LAYER, OUTPUT_LAYER, CLASS_EMBEDDING)
    return [
        len(variable.shape) > 1 and variable.path.split("/")[0] not in ends for variable in network.trainable_variables
    ]


def sinusoidal_embedding(noise_variances: Tensor, dims: int, max_frequency: float) -> Tensor:
    """Sines and cosines of the noise variance (Vaswani et al. 2017), frequencies geometric from 1 to ``max_frequency``.

    Args:
        noise_variances: float32 [..., 1] in [0, 1].
        dims: channels of the result, even.
        max_frequency: of the last sine, in periods over [0, 1].

    Returns:
        float32 [..., dims], sines first. Always float32: an angle of up to 2 pi 1000 has no precision left in bfloat16.
    """
    frequencies = [max_frequency ** (k / (dims // 2 - 1)) for k in range(dims // 2)]
    angular_speeds = ops.convert_to_tensor([2.0 * math.pi * frequency for frequency in frequencies], dtype="float32")
    angles = ops.cast(noise_variances, "float32") * angular_speeds
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)


class SinusoidalEmbedding(layers.Layer):
    """``sinusoidal_embedding`` as a layer that computes in float32 under every precision policy."""

    def __init__(self, dims: int, max_frequency: float) -> None:
        super().__init__(dtype="float32")
        self.dims = dims
        self.max_frequency = max_frequency

    def call(self, noise_variances: Tensor) -> Tensor:
        return sinusoidal_embedding(noise_variances, self.dims, self.max_frequency)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.dims)


def build_network(
    config: NetworkConfig, image_size: int, precision: str = "float32", seed: int | None = 0
) -> keras.Model:
    """The U-Net for images of ``image_size`` x ``image_size`` pixels.

    Its inputs are noisy images [n, s, s, 3] (normalised: mean 0, variance 1) and noise variances [n, 1, 1, 1] in [0,
    1], and class weights [n, classes] where the config has classes: a 1 for a row's class, all 0 for a row of no class,
    anything between for a flower between classes. Its output is what the config says that it predicts, [n, s, s, 3],
    float32. With the default config it is the network of the Keras DDIM example, whose zero-initialised last
    convolution makes an untrained network predict zero.
    The weights have the same shapes at every image size.

    Args:
        precision: a Keras dtype policy; ``mixed_bfloat16`` keeps float32 weights, embedding and output.
        seed: of the initial weights; None leaves them at zero, for those that are given others at once.
    """
    if image_size % config.size_multiple:
        raise ValueError(f"image_size must be a multiple of {config.size_multiple}, got {image_size}")
    build = _Builder(config, precision, seed)
    patch, finest = config.patch_size, image_size // config.patch_size

    noisy_images = keras.Input((image_size, image_size, 3), name="noisy_images")
    noise_variances = keras.Input((1, 1, 1), name="noise_variances")
    embedding = SinusoidalEmbedding(config.embedding_dims, config.embedding_max_frequency)(noise_variances)
    inputs = [noisy_images, noise_variances]
    if config.classes:
        inputs.append(keras.Input((config.classes,), name="class_weights"))
    if config.embed_in_blocks:
        build.condition_on(embedding, *inputs[2:])

    x = build.conv(config.widths[0], patch, strides=patch, name=INPUT_LAYER)(noisy_images)
    spread = layers.UpSampling2D(finest, interpolation="nearest", dtype=precision)(embedding)
    x = layers.Concatenate(dtype=precision)([x, spread])

    *levels, coarsest = range(len(config.widths))
    skips = []
    for level in levels:
        for _ in range(config.block_depth):
            x = build.block(x, level)
            skips.append(x)
        x = layers.AveragePooling2D(2, dtype=precision)(x)
    for _ in range(config.block_depth):
        x = build.block(x, coarsest)
    for level in reversed(levels):
        x = layers.UpSampling2D(2, interpolation="bilinear", dtype=precision)(x)
        for _ in range(config.block_depth):
            x = layers.Concatenate(dtype=precision)([x, skips.pop()])
            x = build.block(x, level)

    # float32 whatever the policy: the predicted noise is what the remix is computed from.
    x = layers.Conv2D(3 * patch * patch, 1, kernel_initializer="zeros", dtype="float32", name=OUTPUT_LAYER)(x)
    if patch > 1:
        x = _patches_to_pixels(x, finest, patch)
    return keras.Model(inputs, x, name="unet")


class _Builder:
    """What the layers of one network share: policy, initial weights' seeds and the noise level they are told."""

    def __init__(self, config: NetworkConfig, precision: str, seed: int | None) -> None:
        self.config = config
        self.precision = precision
        self.noise_level: Tensor | None = None
        self._next_seed = None if seed is None else seed * 10_000
        self._attention_blocks = 0

    def conv(self, width: int, size: int, **options: Any) -> layers.Layer:
        options = {"kernel_initializer": self._glorot(), **options}
        return layers.Conv2D(width, size, padding="same", dtype=self.precision, **options)

    def normalise(self, x: Tensor, name: str | None = None) -> Tensor:
        return layers.BatchNormalization(center=False, scale=False, dtype=self.precision, name=name)(x)

    def dense(self, width: int, **options: Any) -> layers.Layer:
        return layers.Dense(width, dtype=self.precision, **{"kernel_initializer": self._glorot(), **options})

    def condition_on(self, embedding: Tensor, class_weights: Tensor | None = None) -> None:
        """Let every block from now on be scaled and shifted by the noise level, and by the class if there is one."""
        width = 4 * self.config.widths[0]
        told = self.dense(width, activation="swish")(embedding)
        if class_weights is not None:
            of_class = layers.Reshape((1, 1, width), dtype=self.precision)(
                # Zero-initialised, so that training begins from the network without classes.
                self.dense(width, use_bias=False, kernel_initializer="zeros", name=CLASS_EMBEDDING)(class_weights)
            )
            told = layers.Add(dtype=self.precision)([told, of_class])
        self.noise_level = self.dense(width, activation="swish")(told)

    def block(self, x: Tensor, level: int) -> Tensor:
        """A residual block, and self-attention where the level has it."""
        width = self.config.widths[level]
        x = self.residual_block(x, width)
        with_attention = level >= len(self.config.widths) - self.config.attention_levels
        return self.attention_block(x, width) if with_attention else x

    def attention_block(self, x: Tensor, width: int) -> Tensor:
        """Normalise, let all positions look at one another; added to the input."""
        name = f"{ATTENTION}_{self._attention_blocks}"
        self._attention_blocks += 1
        normalised = self.normalise(x, name=f"{name}_norm")
        queries_keys_values = self.conv(3 * width, 1, name=f"{name}_in")(normalised)
        mixed = SelfAttention(self.config.heads(width), self.precision)(queries_keys_values)
        # Zero-initialised, so that training begins from the network without attention.
        mixed = self.conv(width, 1, kernel_initializer="zeros", name=f"{name}_out")(mixed)
        return layers.Add(dtype=self.precision)([x, mixed])

    def residual_block(self, x: Tensor, width: int) -> Tensor:
        """Normalise, convolve with swish, convolve; added to the input (through a 1 x 1 where widths differ)."""
        residual = x if x.shape[-1] == width else self.conv(width, 1)(x)
        x = self.normalise(x)
        x = self.conv(width, 3, activation="swish")(x)
        if self.noise_level is not None:
            # Zero-initialised, so that training begins from the unconditioned block.
            scale = self.dense(width, kernel_initializer="zeros")(self.noise_level)
            shift = self.dense(width, kernel_initializer="zeros")(self.noise_level)
            scaled = layers.Multiply(dtype=self.precision)([x, scale])
            x = layers.Add(dtype=self.precision)([x, scaled, shift])
        x = self.conv(width, 3)(x)
        return layers.Add(dtype=self.precision)([residual, x])

    def _glorot(self) -> keras.Initializer:
        if self._next_seed is None:
            return keras.initializers.Zeros()
        self._next_seed += 1
        return HostGlorotUniform(self._next_seed)


def _patches_to_pixels(x: Tensor, side: int, patch: int) -> Tensor:
    """[n, side, side, 3 p p] to [n, side p, side p, 3], patches in row-major order (depth to space)."""
    x = layers.Reshape((side, side, patch, patch, 3), dtype="float32")(x)
    x = layers.Permute((1, 3, 2, 4, 5), dtype="float32")(x)
    return layers.Reshape((side * patch, side * patch, 3), dtype="float32")(x)
