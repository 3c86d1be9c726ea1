"""The weights of a small network in a larger one that computes the same, as a start for training the larger one."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from model.config import NetworkConfig
from model.network import ATTENTION, CLASS_EMBEDDING

Array = npt.NDArray[Any]


def can_grow(small: NetworkConfig, large: NetworkConfig) -> bool:
    """Whether ``grown_weights`` has an answer: no level is narrower, and the rest is equal.

    Self-attention and classes may be new, and what is predicted may be another thing. Levels with self-attention in
    both networks keep their width, since an attention head is no channel more or less.
    """
    fixed = ("block_depth", "embedding_dims", "embedding_max_frequency", "patch_size", "embed_in_blocks")
    attention_is_new = small.attention_levels == 0
    attending = len(small.widths) - small.attention_levels
    return (
        len(small.widths) == len(large.widths)
        and all(before <= after for before, after in zip(small.widths, large.widths, strict=True))
        and _changes_of_width(small) == _changes_of_width(large)
        and small.classes in (0, large.classes)
        and (
            attention_is_new
            or (small.attention_levels, small.head_width, small.widths[attending:])
            == (large.attention_levels, large.head_width, large.widths[attending:])
        )
        and all(getattr(small, name) == getattr(large, name) for name in fixed)
    )


def grown_weights(small: keras.Model, large: keras.Model) -> dict[str, Array]:
    """Of each of ``large.variables``, by path, the value with which ``large`` computes what ``small`` does.

    The same up to rounding, in inference. As in Net2Net (Chen et al. 2016) training goes on from what was learnt, but
    no channel is copied: a new one is what ``large`` has been initialised with, and what reads it beside old ones gives
    it no weight at first. ``large`` is left as it is. Both are of ``build_network``, and their configs ``can_grow``.
    """
    values = {variable.path: _value(variable) for variable in large.variables}
    in_small = [layer.name for layer in small.layers]
    # A layer that only the larger one has adds nothing at first: attention's and classes' last weights begin as zeros.
    new = [kind for kind in (ATTENTION, CLASS_EMBEDDING) if not any(name.startswith(kind) for name in in_small)]
    sources = [layer for layer in small.layers if layer.weights]
    targets = [layer for layer in large.layers if layer.weights and not layer.name.startswith(tuple(new))]
    for source, target in zip(sources, targets, strict=True):
        read = _places(_parts_read(small, source), _parts_read(large, target))
        for before, after in zip(source.weights, target.weights, strict=True):
            _lay_in(values[after.path], _value(before), read, of_input=isinstance(target, layers.BatchNormalization))
    return values


def _lay_in(value: Array, old: Array, read: Array, of_input: bool) -> None:
    """Put ``old`` in its place in ``value``; ``read`` are the old ones among the channels that the layer reads."""
    if of_input:
        value[read] = old
    elif old.ndim == 1:
        value[: len(old)] = old
    else:
        made = old.shape[-1]
        value[..., :made] = 0
        value[..., read, :made] = old


def _changes_of_width(config: NetworkConfig) -> list[bool]:
    """Where a level has another width than the one before, and its first block a convolution for that."""
    return [before != after for before, after in zip(config.widths, config.widths[1:], strict=False)]


def _parts_read(network: keras.Model, layer: keras.Layer) -> list[int]:
    """The channels that ``layer`` reads, by where they come from: those of a skip stand behind those from below."""
    made_by = {id(other.output): other for other in network.layers}
    tensor = layer.input
    while isinstance(made_by[id(tensor)], layers.BatchNormalization):
        tensor = made_by[id(tensor)].input
    producer = made_by[id(tensor)]
    parts = producer.input if isinstance(producer, layers.Concatenate) else [tensor]
    return [part.shape[-1] for part in parts]


def _places(before: list[int], after: list[int]) -> Array:
    """Where the channels of ``before`` are among those of ``after``, part by part."""
    starts = np.cumsum([0, *after[:-1]])
    return np.concatenate([start + np.arange(channels) for start, channels in zip(starts, before, strict=True)])


def _value(variable: keras.Variable) -> Array:
    return np.array(ops.convert_to_numpy(variable.value))
