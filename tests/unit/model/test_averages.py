import pytest

from model.averages import AverageScore, better


@pytest.mark.parametrize(
    ("scores", "place"),
    [
        ([AverageScore(0.9, 0.2, 0.5), AverageScore(0.99, 0.3, 0.4)], 1),
        ([AverageScore(0.9, 0.2, None), AverageScore(0.99, 0.1, None)], 1),
        ([AverageScore(0.9, 0.2, None), AverageScore(0.99, 0.3, 0.4)], 0),
        ([AverageScore(0.9, 0.2, 0.4), AverageScore(0.99, 0.2, 0.4)], 0),
    ],
    ids=["KID goes first", "without it the loss", "only where all have it", "the first of equals"],
)
def test_the_better_one_is_kept(scores: list[AverageScore], place: int) -> None:
    assert better(scores) == place
