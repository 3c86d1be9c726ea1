from hypothesis import given
from hypothesis import strategies as st

from worker.drain import jobs_to_finish


def test_the_shortest_jobs_are_finished() -> None:
    assert jobs_to_finish({"long": 900, "short": 10, "middle": 60}, 1.0, 100.0) == {"short", "middle"}


def test_nothing_is_finished_in_no_time() -> None:
    assert jobs_to_finish({"a": 1}, 0.0, 1000.0) == set()


def test_a_job_whose_images_are_only_to_be_stored_is_finished() -> None:
    assert jobs_to_finish({"stored soon": 0, "long": 10**6}, 0.5, 1.0) == {"stored soon"}


@given(st.dictionaries(st.text(), st.integers(0, 10**5)), st.floats(0, 60), st.floats(0, 1e4))
def test_the_chosen_fit_into_the_time(remaining: dict[str, int], seconds: float, rate: float) -> None:
    chosen = jobs_to_finish(remaining, seconds, rate)
    assert sum(remaining[job_id] for job_id in chosen) <= seconds * rate
    assert all(remaining[left] >= remaining[taken] for taken in chosen for left in remaining.keys() - chosen)
