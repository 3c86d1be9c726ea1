"""The garbage collector leaves alone what is there for good."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from app.collector import THRESHOLDS, spare_what_is_loaded


class Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_is_loaded_is_looked_at_no_more() -> None:
    old = Cycle()
    spare_what_is_loaded()
    kept = weakref.ref(old)
    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold() == THRESHOLDS
    del old
    gc.collect()
    assert kept() is not None


def test_what_comes_later_is_still_collected() -> None:
    spare_what_is_loaded()
    new = Cycle()
    gone = weakref.ref(new)
    del new
    gc.collect()
    assert gone() is None


def test_garbage_of_the_start_is_not_kept_for_ever() -> None:
    garbage = Cycle()
    gone = weakref.ref(garbage)
    del garbage
    spare_what_is_loaded()
    assert gone() is None
