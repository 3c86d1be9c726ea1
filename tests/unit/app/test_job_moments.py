"""From what a reader has seen to what there is: every change in order, none twice."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.job_moments import Moment, Seen, moments_between, read_event_id
from app.schemas import JobStatus

QUEUED, RUNNING = JobStatus.QUEUED, JobStatus.RUNNING
ENDS = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)
A, B = 1_767_268_800_000_000, 1_767_268_860_000_000

moments = st.builds(Moment, st.sampled_from(JobStatus), st.integers(0, 10**16))


@given(moments)
def test_an_id_says_what_was_seen(moment: Moment) -> None:
    assert read_event_id(moment.event_id) == Seen(moment, done=False)
    assert read_event_id(moment.done_id) == Seen(moment, done=True)


@given(st.text())
def test_other_ids_say_nothing(text: str) -> None:
    seen = read_event_id(text)
    assert seen is None or text in (seen.moment.event_id, seen.moment.done_id)


@pytest.mark.parametrize(
    "text", [None, "", "queued", "queued-", "queued-01", "queued--1", "QUEUED-0", "queued-0 ", "x-0"]
)
def test_ids_of_others_say_nothing(text: str | None) -> None:
    assert read_event_id(text) is None


@pytest.mark.parametrize(
    ("seen", "now", "told"),
    [
        ((QUEUED, 0), (QUEUED, 0), []),
        ((QUEUED, 0), (RUNNING, A), [(RUNNING, A)]),
        ((QUEUED, 0), (ENDS[0], A), [(RUNNING, A), (ENDS[0], A)]),
        ((QUEUED, 0), (ENDS[2], 0), [(ENDS[2], 0)]),
        ((QUEUED, 0), (QUEUED, A), [(RUNNING, A), (QUEUED, A)]),
        ((QUEUED, A), (ENDS[2], A), [(ENDS[2], A)]),
        ((RUNNING, A), (ENDS[1], A), [(ENDS[1], A)]),
        ((RUNNING, A), (QUEUED, A), [(QUEUED, A)]),
        ((RUNNING, A), (RUNNING, B), [(QUEUED, A), (RUNNING, B)]),
        ((RUNNING, A), (ENDS[0], B), [(QUEUED, A), (RUNNING, B), (ENDS[0], B)]),
        ((ENDS[0], A), (ENDS[0], A), []),
        ((ENDS[0], A), (QUEUED, 0), [(QUEUED, 0)]),
        (None, (ENDS[0], A), [(ENDS[0], A)]),
    ],
)
def test_the_moments_between(
    seen: tuple[JobStatus, int] | None, now: tuple[JobStatus, int], told: list[tuple[JobStatus, int]]
) -> None:
    assert moments_between(Moment(*seen) if seen else None, Moment(*now)) == [Moment(*moment) for moment in told]


@st.composite
def lives(draw: st.DrawFn) -> list[Moment]:
    """What may happen to a job: it is queued, and run one or more times, and ends or does not."""
    life = [Moment(QUEUED, 0)]
    for run in range(1, draw(st.integers(0, 4)) + 1):
        life += [Moment(RUNNING, run), Moment(QUEUED, run)]
    if draw(st.booleans()) and len(life) > 1:
        life.pop()
    if draw(st.booleans()):
        life.append(Moment(draw(st.sampled_from(ENDS)), life[-1].run))
    return life


@given(lives(), st.data())
def test_a_reader_that_looks_away_is_told_a_possible_story_and_nothing_twice(
    life: list[Moment], data: st.DataObject
) -> None:
    looked = sorted(data.draw(st.sets(st.integers(0, len(life) - 1), min_size=1)))
    told: list[Moment] = []
    for place in looked:
        told += moments_between(told[-1] if told else None, life[place])
    assert told[-1] == life[looked[-1]]
    assert [moment for moment in life if moment in told] == told  # in order, all of it true, none twice
    allowed = {(QUEUED, RUNNING), (RUNNING, QUEUED)} | set(itertools.product((QUEUED, RUNNING), ENDS))
    assert {(one.status, next_.status) for one, next_ in itertools.pairwise(told)} <= allowed


@given(lives())
def test_who_looks_at_each_change_is_told_each_change(life: list[Moment]) -> None:
    told: list[Moment] = []
    for moment in life:
        told += moments_between(told[-1] if told else None, moment)
    assert told == life
