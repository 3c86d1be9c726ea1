"""The order of photos: complete, shuffled, and a function of the step."""

import numpy as np
import pytest

from model.order import PhotoOrder


def test_an_epoch_holds_every_photo_as_often_as_asked():
    order = PhotoOrder(photos=12, batch_size=4, repetitions=5, seed=0)
    assert order.steps_per_epoch == 15
    rows = order.rows(15, 15)
    assert (np.bincount(rows.ravel(), minlength=12) == 5).all()
    assert sorted(rows.ravel()[:12]) == list(range(12))  # each time through, none comes twice


def test_what_fills_no_batch_is_dropped():
    order = PhotoOrder(photos=13, batch_size=4, repetitions=5, seed=0)
    assert order.steps_per_epoch == 16
    assert np.bincount(order.rows(0, 16).ravel(), minlength=13).sum() == 64


def test_any_step_can_be_the_first():
    whole = PhotoOrder(10, 4, 2, seed=3).rows(0, 23)
    for step in range(23):
        np.testing.assert_array_equal(PhotoOrder(10, 4, 2, seed=3).rows(step, 23 - step), whole[step:])


def test_epochs_and_seeds_differ():
    order = PhotoOrder(100, 10, 1, seed=0)
    assert (order.rows(0, 10) != order.rows(10, 10)).any()
    assert (order.rows(0, 10) != PhotoOrder(100, 10, 1, seed=1).rows(0, 10)).any()


def test_too_few_photos_for_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"3 training photos.*--batch-size"):
        PhotoOrder(3, 64, 5, seed=0)
