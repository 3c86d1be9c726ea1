"""Classes: pinned for ever, drawn as often as there were photos, and on a straight way between two."""

import numpy as np
import pytest

from model.classes import class_of, class_weights, class_weights_between, with_class_weights

COUNTS = (40, 1, 0, 258)


def test_the_classes_of_some_seeds_for_ever():
    assert [class_of(seed, [1] * 102) for seed in (0, 1, 2, 7, 2**53 - 1)] == [82, 7, 55, 90, 71]


def test_it_is_philox_as_published():
    """Against a Philox of this test's own, in Python's integers."""
    mask = 2**64 - 1
    for seed in (0, 7, 123456789, 2**53 - 1):
        counter, key = [1, 0, 0, 0], [seed, 1]
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
            counter = [
                second >> 64 ^ counter[1] ^ key[0],
                second & mask,
                first >> 64 ^ counter[3] ^ key[1],
                first & mask,
            ]
            key = [key[0] + 0x9E3779B97F4A7C15 & mask, key[1] + 0xBB67AE8584CAA73B & mask]
        photo = counter[0] * sum(COUNTS) // 2**64
        expected = next(k for k in range(len(COUNTS)) if photo < sum(COUNTS[: k + 1]))
        assert class_of(seed, COUNTS) == expected


def test_a_class_is_drawn_as_often_as_there_were_photos():
    drawn = np.bincount([class_of(seed, COUNTS) for seed in range(6000)], minlength=4) / 6000
    np.testing.assert_allclose(drawn, np.array(COUNTS) / sum(COUNTS), atol=0.02)
    assert drawn[2] == 0.0


def test_no_photos_are_refused():
    with pytest.raises(ValueError, match="counts"):
        class_of(7, (0, 0))


def test_weights_name_the_class_or_nothing():
    weights = class_weights(7, COUNTS)
    assert weights.dtype == np.float32
    assert weights.tolist() == [float(k == class_of(7, COUNTS)) for k in range(4)]
    assert class_weights(7, ()).shape == (0,)


def test_between_two_seeds_the_weights_go_straight():
    start, end = next((a, b) for a in range(50) for b in range(50) if class_of(a, COUNTS) != class_of(b, COUNTS))
    ends = [class_weights_between(start, end, part, 4, COUNTS) for part in (0, 4)]
    np.testing.assert_array_equal(ends, [class_weights(start, COUNTS), class_weights(end, COUNTS)])
    middle = class_weights_between(start, end, 1, 4, COUNTS)
    np.testing.assert_array_equal(middle, np.float32([0.75, 0.25]) @ np.stack(ends))
    assert middle.dtype == np.float32


def test_rows_have_the_weights_behind():
    rates = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    rows = with_class_weights(rates, np.float32([0.0, 1.0]))
    assert rows.shape == (2, 3, 7)
    np.testing.assert_array_equal(rows[..., :5], rates)
    np.testing.assert_array_equal(rows[..., 5:], np.broadcast_to([0.0, 1.0], (2, 3, 2)))
    np.testing.assert_array_equal(with_class_weights(rates, np.zeros(0, np.float32)), rates)
