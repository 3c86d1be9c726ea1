"""KID against closed forms, and against the definition written out as loops."""

import numpy as np
import numpy.typing as npt
import pytest

from model.kid import kid, polynomial_kernel, resampled_spread

Features = npt.NDArray[np.float64]


def normal(seed: int, count: int, features: int = 4, mean: float = 0.0) -> Features:
    return np.random.default_rng(seed).normal(mean, 1.0, (count, features))


def standard_error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def expected_kernel(a: Features, b: Features) -> float:
    """The mean of (x . y / d + 1)**3 over x from N(a, I) and y from N(b, I), from the normal's first six moments."""
    d, s, squares = len(a), float(a @ b), float(a @ a + b @ b)
    first, second, third = s, s**2 + squares + d, s**3 + 3.0 * s * (squares + d + 2.0)
    return third / d**3 + 3.0 * second / d**2 + 3.0 * first / d + 1.0


def test_two_normal_distributions_are_as_far_apart_as_theory_says() -> None:
    a, b = np.array([0.0, 0.5, 0.0, -0.5]), np.array([1.0, 0.5, -1.0, 0.0])
    truth = expected_kernel(a, a) + expected_kernel(b, b) - 2.0 * expected_kernel(a, b)
    values = [kid(normal(2 * seed, 150) + a, normal(2 * seed + 1, 100) + b) for seed in range(60)]
    assert truth > 1.0
    assert np.mean(values) == pytest.approx(truth, abs=4.0 * standard_error(values))
    assert standard_error(values) < 0.1 * truth, "or the comparison would prove little"


def test_a_set_split_in_two_is_at_no_distance_from_itself() -> None:
    halves = [np.split(np.random.default_rng(seed).permutation(normal(seed, 60)), 2) for seed in range(200)]
    values = [kid(*half) for half in halves]
    assert np.mean(values) == pytest.approx(0.0, abs=4.0 * standard_error(values))
    assert min(values) < 0.0 < max(values)
    # What the unbiased estimate leaves out would show: a set's images beside themselves.
    biased = [np.mean(polynomial_kernel(a, a)) + np.mean(polynomial_kernel(b, b)) for a, b in halves]
    across = [2.0 * np.mean(polynomial_kernel(a, b)) for a, b in halves]
    assert np.mean(biased) - np.mean(across) > 10.0 * standard_error(values)


def test_of_degree_one_it_is_the_distance_of_the_means() -> None:
    real, generated = normal(0, 7), normal(1, 5, mean=0.5)

    def across_pairs(x: Features) -> float:
        n = len(x)
        return float((np.sum(x.sum(axis=0) ** 2) - np.sum(x**2)) / (n * (n - 1)))

    means = real.mean(axis=0) @ generated.mean(axis=0)
    expected = (across_pairs(real) + across_pairs(generated) - 2.0 * means) / real.shape[1]
    assert kid(real, generated, degree=1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("reals", "generateds", "features"), [(2, 2, 1), (3, 5, 2), (8, 4, 7)])
def test_it_is_what_the_definition_says(reals: int, generateds: int, features: int) -> None:
    real, generated = normal(1, reals, features), normal(2, generateds, features, mean=0.3)

    def k(x: Features, y: Features) -> float:
        return float((sum(x[i] * y[i] for i in range(features)) / features + 1.0) ** 3)

    def within(points: Features) -> float:
        pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j]
        return sum(k(points[i], points[j]) for i, j in pairs) / len(pairs)

    across = sum(k(x, y) for x in real for y in generated) / (reals * generateds)
    expected = within(real) + within(generated) - 2.0 * across
    assert kid(real, generated) == pytest.approx(expected, rel=1e-9)
    assert kid(generated, real) == pytest.approx(expected, rel=1e-9)


def test_the_further_the_greater() -> None:
    real = normal(0, 100)
    values = [kid(real, normal(1, 100, mean=mean)) for mean in (0.0, 0.5, 1.0, 2.0)]
    assert values == sorted(values)


def test_the_spread_is_that_of_images_drawn_again() -> None:
    real, generated = normal(0, 30), normal(1, 20, mean=0.4)
    random = np.random.default_rng(0)
    values = [kid(real, generated[random.integers(0, 20, 20)]) for _ in range(20)]
    assert resampled_spread(real, generated) == pytest.approx(np.std(values), rel=1e-9)


def test_the_spread_shrinks_with_the_number_of_images() -> None:
    real = normal(0, 200)
    few, many = (resampled_spread(real, normal(1, count, mean=0.5)) for count in (20, 500))
    assert few > 2.0 * many


@pytest.mark.parametrize(("reals", "generateds"), [(1, 5), (5, 1), (0, 5)])
def test_it_needs_two_images(reals: int, generateds: int) -> None:
    with pytest.raises(ValueError, match=f"got {reals} real and {generateds} generated"):
        kid(normal(0, reals), normal(1, generateds))
    with pytest.raises(ValueError, match="two images"):
        resampled_spread(normal(0, reals), normal(1, generateds))


def test_features_of_two_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="4 real and 3 generated"):
        kid(normal(0, 5), normal(1, 5, features=3))
