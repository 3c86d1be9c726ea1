"""Precision and recall: are the generated images like real ones, and are all kinds of real ones among them?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float64]

NEIGHBOURS = 3


class PrecisionRecall(NamedTuple):
    """Both in 0..1. Blur lowers precision; images that are all alike lower recall."""

    precision: float
    """Share of the generated images inside the manifold of the real ones."""
    recall: float
    """Share of the real images inside the manifold of the generated ones."""


def precision_recall(real: Features, generated: Features, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, eq. 1 to 3).

    A set's manifold is the union of balls around its members, each reaching to the member's k-th nearest neighbour. It
    grows with the number of images, so that figures can be compared for equal numbers only.

    Args:
        real: features of the real images, float64 [n, d].
        generated: features of the generated images, float64 [m, d].
        neighbours: k; each side needs more images than that.
    """
    return PrecisionRecall(
        precision=covered_share(generated, real, neighbours), recall=covered_share(real, generated, neighbours)
    )


def covered_share(points: Features, manifold: Features, neighbours: int = NEIGHBOURS) -> float:
    """The share of ``points`` [n, d] inside the manifold that ``manifold`` [m, d] spans.

    Raises:
        ValueError: the manifold has too few members to have that many neighbours.
    """
    if len(manifold) <= neighbours:
        raise ValueError(f"{neighbours} nearest neighbours need {neighbours + 1} images, got {len(manifold)}")
    # Ordered by distance the first is the member itself.
    radii = np.partition(_squared_distances(manifold, manifold), neighbours, axis=1)[:, neighbours]
    return float((_squared_distances(points, manifold) <= radii).any(axis=1).mean())


def _squared_distances(a: Features, b: Features) -> Features:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * (a @ b.T)
    # Rounding can leave the distance of a point to itself a little below zero.
    return np.maximum(squares, 0.0)
