"""Self-attention over the positions of an image: lets distant petals agree."""

from __future__ import annotations

from typing import Any

from keras import layers, ops

Tensor = Any


class SelfAttention(layers.Layer):
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) among all positions of an image. Has no weights.

    Takes queries, keys and values side by side, [n, height, width, 3 c], gives [n, height, width, c]. The softmax is
    computed in float32 under every policy. Images never influence one another, and an image's bits are the same in a
    batch of any size (tests hold the backends to it).
    """

    def __init__(self, heads: int, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self.heads = heads

    def call(self, queries_keys_values: Tensor) -> Tensor:
        height, width, channels = self.compute_output_shape(queries_keys_values.shape)[1:]
        head_width = channels // self.heads
        # Split, not sliced: the gradient of slices is three padded arrays to add, that of a split one concatenation.
        queries, keys, values = (
            ops.transpose(ops.reshape(part, (-1, height * width, self.heads, head_width)), (0, 2, 1, 3))
            for part in ops.split(queries_keys_values, 3, axis=-1)
        )
        scores = ops.matmul(queries * head_width**-0.5, ops.transpose(keys, (0, 1, 3, 2)))
        shares = ops.cast(ops.softmax(ops.cast(scores, "float32"), axis=-1), values.dtype)
        mixed = ops.transpose(ops.matmul(shares, values), (0, 2, 1, 3))
        return ops.reshape(mixed, (-1, height, width, channels))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[Any, ...]:
        return (*input_shape[:-1], (input_shape[-1] or 0) // 3)
