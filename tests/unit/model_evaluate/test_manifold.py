"""Precision and recall on manifolds so simple that the answer is plain, and against the definition written as loops."""

import numpy as np
import numpy.typing as npt
import pytest

from model.manifold import covered_share, precision_recall

Features = npt.NDArray[np.float64]


def cloud(seed: int, centre: float, count: int = 40) -> Features:
    """Points within 1 of a centre on every axis."""
    return centre + np.random.default_rng(seed).uniform(-1.0, 1.0, (count, 2))


def test_the_same_images_are_all_covered() -> None:
    points = cloud(0, 0.0)
    assert precision_recall(points, points) == (1.0, 1.0)


def test_images_of_something_else_are_not_covered() -> None:
    assert precision_recall(cloud(0, 0.0), cloud(1, 100.0)) == (0.0, 0.0)


def test_one_kind_out_of_two_has_full_precision_and_half_the_recall() -> None:
    roses, lilies = cloud(0, 0.0), cloud(1, 100.0)
    generated = roses + 1e-9
    assert precision_recall(np.concatenate([roses, lilies]), generated) == (1.0, 0.5)


def test_everything_and_as_much_rubbish_has_full_recall_and_half_the_precision() -> None:
    real, rubbish = cloud(0, 0.0), cloud(1, 100.0)
    assert precision_recall(real, np.concatenate([real + 1e-9, rubbish])) == (0.5, 1.0)


def test_blur_has_high_precision_and_low_recall() -> None:
    real = cloud(0, 0.0, count=200)
    precision, recall = precision_recall(real, 0.05 * cloud(1, 0.0, count=200))
    assert precision > 0.9
    assert recall < 0.1


def test_a_ball_reaches_to_the_third_neighbour_and_no_further() -> None:
    manifold = np.array([[0.0], [1.0], [2.0], [3.0]])
    # Of the members at 0 and 3 the third neighbour is 3 away; so the manifold is [-3, 6].
    points = np.array([[-3.1], [-3.0], [0.5], [6.0], [6.1]])
    assert covered_share(points, manifold, neighbours=3) == 3 / 5
    # The nearest is 1 away of each: [-1, 4].
    assert covered_share(np.array([[-1.1], [-1.0], [4.0], [4.1]]), manifold, neighbours=1) == 0.5


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_it_is_what_the_definition_says(neighbours: int) -> None:
    random = np.random.default_rng(neighbours)
    points, manifold = random.normal(0.5, 1.2, (25, 5)), random.normal(0.0, 1.0, (30, 5))

    def inside(point: Features) -> bool:
        for i, member in enumerate(manifold):
            others = sorted(float(np.linalg.norm(member - other)) for j, other in enumerate(manifold) if j != i)
            if np.linalg.norm(point - member) <= others[neighbours - 1]:
                return True
        return False

    share = covered_share(points, manifold, neighbours)
    assert share == np.mean([inside(point) for point in points])
    assert 0.0 < share < 1.0


def test_too_few_images_have_no_manifold() -> None:
    with pytest.raises(ValueError, match="3 nearest neighbours need 4 images, got 3"):
        precision_recall(cloud(0, 0.0), cloud(1, 0.0, count=3))
