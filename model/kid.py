"""The kernel inception distance: how far a set of generated images is from real ones, in the space of some features."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float64]

DEGREE = 3


def polynomial_kernel(a: Features, b: Features, degree: int = DEGREE) -> Features:
    """The kernel (a . b / d + 1)**degree of every pair, d the number of features: [n, d] and [m, d] to [n, m]."""
    return (a @ b.T / a.shape[1] + 1.0) ** degree


def kid(real: Features, generated: Features, degree: int = DEGREE) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy (Binkowski et al. 2018, eq. 4).

    Args:
        real: features of the real images, float64 [n, d], n at least 2.
        generated: features of the generated images, float64 [m, d], m at least 2.
        degree: of the polynomial kernel; the metric of that name takes 3.

    Returns:
        0 on average where both were drawn from one distribution, whatever n and m, and so now and then a little below.
        Its scale depends on the features: figures over different features cannot be compared.

    Raises:
        ValueError: too few images, or features of two kinds.
    """
    _check(real, generated)
    return _discrepancy(
        _mean_off_diagonal(polynomial_kernel(real, real, degree)),
        _mean_off_diagonal(polynomial_kernel(generated, generated, degree)),
        float(polynomial_kernel(real, generated, degree).mean()),
    )


def resampled_spread(real: Features, generated: Features, resamples: int = 20, seed: int = 0) -> float:
    """The standard deviation of ``kid`` when as many generated images are drawn from the given ones, with replacement.

    An estimate of how much the figure owes to which images were generated, from one set of them.
    """
    _check(real, generated)
    count = len(generated)
    among_real = _mean_off_diagonal(polynomial_kernel(real, real))
    among_generated = polynomial_kernel(generated, generated)
    across = polynomial_kernel(real, generated).mean(axis=0)
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        # How often each image was drawn says it all: no kernel is computed twice.
        draws = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)
        off_diagonal = draws @ among_generated @ draws - draws @ among_generated.diagonal()
        values.append(
            _discrepancy(among_real, float(off_diagonal) / (count * (count - 1)), float(draws @ across) / count)
        )
    return float(np.std(values))


def _check(real: Features, generated: Features) -> None:
    if len(real) < 2 or len(generated) < 2:
        raise ValueError(f"KID needs two images on either side, got {len(real)} real and {len(generated)} generated")
    if real.shape[1] != generated.shape[1]:
        raise ValueError(f"the features differ in number: {real.shape[1]} real and {generated.shape[1]} generated")


def _mean_off_diagonal(kernel: Features) -> float:
    """The mean over pairs of different images. An image beside itself would make the estimate too large."""
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _discrepancy(among_real: float, among_generated: float, across: float) -> float:
    return among_real + among_generated - 2.0 * across
