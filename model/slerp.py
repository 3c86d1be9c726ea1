"""Spherical interpolation with the same bits on every machine.

Between two arrays, taken as vectors with an angle between them, the weights at a part t of the way are
sin((1 - t) angle) / sin(angle) and sin(t angle) / sin(angle) (Shoemake 1985, "Animating rotation with quaternion
curves"; for noises: Song et al. 2021, DDIM, appendix D.5). A straight line between two noises would have too little of
it in the middle; on the arc every point is as strong as its ends.

Fixed for ever, like the starting noise, and made of +, -, *, / and the square root alone, which IEEE 754 rounds
correctly everywhere (see model/noise.py). Sums are those of `math.fsum`, rounded once, whatever their order; sine and
arctangent are series.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]

_PI = 3.141592653589793
_HALVINGS = 4
_TERMS = 15


def slerp(start: Float32s, end: Float32s, part: int, parts: int) -> Float32s:
    """The point ``part / parts`` of the way on the arc from ``start`` to ``end``: float32, of their shape.

    The ends are the very arrays; from ``end`` to ``start`` the same points come in the other order, to the bit. A part
    in lower terms may differ from its multiple in the last bit.

    Raises:
        ValueError: not 0 <= part <= parts with parts > 0, or the arrays lie on one line, between whose ends there are
            many arcs or none.
    """
    if not 0 <= part <= parts or parts < 1:
        raise ValueError(f"a part of the way is between 0 and all of it, got {part} / {parts}")
    if part == 0:
        return start
    if part == parts:
        return end
    angle = _angle(start.astype(np.float64), end.astype(np.float64))
    whole = _sine(angle)
    if whole == 0.0:
        raise ValueError("the two ends lie on one line: there is no arc between them")
    start_weight = _sine(angle * (parts - part) / parts) / whole
    end_weight = _sine(angle * part / parts) / whole
    return (start.astype(np.float64) * start_weight + end.astype(np.float64) * end_weight).astype(np.float32)


def _angle(start: Float64s, end: Float64s) -> float:
    """The angle between two arrays of float32 values, whose products are exact in float64: 0 to pi."""
    product = math.fsum((start * end).ravel().tolist())
    lengths = math.sqrt(math.fsum((start * start).ravel().tolist()) * math.fsum((end * end).ravel().tolist()))
    if lengths == 0.0:
        return 0.0
    cosine = min(max(product / lengths, -1.0), 1.0)
    if cosine == -1.0:
        return _PI
    return 2.0 * _arctangent(math.sqrt((1.0 - cosine) / (1.0 + cosine)))


def _arctangent(x: float) -> float:
    """Of x >= 0: Taylor's series, after the angle was halved by tan(a / 2) = tan a / (1 + sqrt(1 + tan(a)**2))."""
    for _ in range(_HALVINGS):
        x = x / (1.0 + math.sqrt(1.0 + x * x))
    square = x * x
    series = functools.reduce(lambda total, k: 1.0 / (2 * k + 1) - square * total, range(_TERMS, -1, -1), 0.0)
    return x * series * 2.0**_HALVINGS


def _sine(angle: float) -> float:
    """Of 0 <= angle <= pi: Taylor's series, of the angle or of what it lacks to pi."""
    x = min(angle, _PI - angle)
    square = x * x
    series = functools.reduce(
        lambda total, k: 1.0 - square / ((2 * k) * (2 * k + 1)) * total, range(_TERMS, 0, -1), 1.0
    )
    return x * series
