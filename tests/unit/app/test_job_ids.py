import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rq.job import validate_job_id

from app.job_ids import FOREIGN_IMAGE_STEPS, image_steps_of, is_job_id, new_job_id


@given(st.integers(1, 64_000))
def test_an_id_tells_its_work_and_suits_rq(image_steps: int) -> None:
    job_id = new_job_id(image_steps)
    assert is_job_id(job_id)
    assert image_steps_of(job_id) == image_steps
    validate_job_id(job_id)


def test_ids_are_in_the_order_of_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(1_700_000_000_000_000_000, 1_000_000)
    monkeypatch.setattr("time.time_ns", lambda: next(times))
    ids = [new_job_id(20) for _ in range(3)]
    assert ids == sorted(ids)


def test_ids_differ() -> None:
    assert len({new_job_id(20) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text", ["", "x", "0" * 32, "0" * 32 + "-0", "0" * 32 + "-020", "0" * 32 + "-20\n", "A" * 32 + "-20", "../" * 10]
)
def test_others_are_not_ids(text: str) -> None:
    assert not is_job_id(text)
    assert image_steps_of(text) == FOREIGN_IMAGE_STEPS
