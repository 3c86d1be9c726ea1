"""Which kind of flower a seed grows into, where the network can be told: the same on every machine.

A class is drawn as often as there were photos of it. The algorithm, fixed for ever like that of the starting noise:
the first 64-bit word of Philox4x64-10 with key (seed, 1) and counter (1, 0, 0, 0), times the number of photos, without
its lowest 64 bits, is the number of a photo; the classes hold the photos in their order. Integers only, so exact.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

ClassWeights = npt.NDArray[np.float32]
"""float32 [classes]: a 1 for the class, or shares of two that add up to 1."""


def class_of(seed: int, counts: Sequence[int]) -> int:
    """The number of the class that the flower of ``seed`` is of, where ``counts`` photos of each class there were.

    Raises:
        ValueError: there are no photos.
    """
    photos = sum(counts)
    if photos < 1:
        raise ValueError(f"counts must add up to at least 1, got {photos}")
    word = int(np.random.Philox(key=np.array([seed, 1], dtype=np.uint64), counter=0).random_raw())
    photo = word * photos >> 64
    return int(np.searchsorted(np.cumsum(counts), photo, side="right"))


def class_weights(seed: int, counts: Sequence[int]) -> ClassWeights:
    """What the network is told of the flower of ``seed``: float32 [classes], empty where there are none."""
    weights = np.zeros(len(counts), np.float32)
    if counts:
        weights[class_of(seed, counts)] = 1.0
    return weights


def class_weights_of(name: str, names: Sequence[str]) -> ClassWeights:
    """What the network is told of a flower of the class of that name: float32 [classes].

    Raises:
        ValueError: none of ``names`` is that.
    """
    if name not in names:
        raise ValueError(f"kind: this bundle knows no {name!r}{_near(name, names)}")
    weights = np.zeros(len(names), np.float32)
    weights[names.index(name)] = 1.0
    return weights


def _near(name: str, names: Sequence[str]) -> str:
    """What may have been meant, in words."""
    if not names:
        return ", as it knows no kinds of flowers at all"
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; it knows {names[0]!r} and {len(names) - 1} others"


def class_weights_between(start: int, end: int, part: int, parts: int, counts: Sequence[int]) -> ClassWeights:
    """``part / parts`` of the way from what is told of seed ``start`` to what is told of seed ``end``."""
    share = part / parts
    return ((1.0 - share) * class_weights(start, counts) + share * class_weights(end, counts)).astype(np.float32)


def with_class_weights(rates: npt.NDArray[np.float32], weights: ClassWeights) -> npt.NDArray[np.float32]:
    """Rows of ``Schedule.step_rates`` [..., 5] with the class weights of their image behind: [..., 5 + classes]."""
    return np.concatenate([rates, np.broadcast_to(weights, (*rates.shape[:-1], weights.shape[-1]))], axis=-1)
