"""What waits for a reader, and what a slow one misses."""

import asyncio
from datetime import UTC, datetime

from app.event_reader import EventReader, Sight
from app.job_moments import Moment
from app.schemas import Job, JobStatus, Metrics, Progress, QueuePlace, Request
from tests.event_stream import Event, parse

RUN = 1_767_268_800_000_000


def sight(status: JobStatus, run: int = RUN, steps_done: int = 0) -> Sight:
    job = Job(
        id="x",
        status=status,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        started_at=None if status is JobStatus.QUEUED else datetime(2026, 1, 1, 12, tzinfo=UTC),
        finished_at=None,
        request=Request(steps=20, seed=7, count=2),
        progress=Progress(steps_done=steps_done, steps_total=40, images_done=0),
        queue=QueuePlace(position=3, eta_seconds=None) if status is JobStatus.QUEUED else None,
        images=[],
        error=None,
        metrics=Metrics(queued_seconds=None, run_seconds=None),
    )
    return Sight(job, Moment(status, run))


def take(reader: EventReader) -> list[Event]:
    return list(parse(asyncio.run(reader.take(0)).decode().split("\n")))


def names(events: list[Event]) -> list[str]:
    return [event.data["status"] if event.name == "status" else event.name for event in events]


def test_the_present_comes_first_with_the_previews_that_there_are() -> None:
    reader = EventReader()
    reader.see(sight(JobStatus.RUNNING, steps_done=8), {7: b"event: preview\ndata: 7\n\n"})
    events = take(reader)
    assert names(events) == ["running", "progress", "preview"]
    assert events[1].data["steps_done"] == 8
    assert take(reader) == []


def test_a_slow_reader_misses_previews_and_progress_but_no_status() -> None:
    reader = EventReader()
    reader.see(sight(JobStatus.QUEUED, 0), {})
    reader.see(sight(JobStatus.RUNNING), {})
    for number in range(1000):
        reader.give_progress(b"event: progress\ndata: %d\n\n" % number)
        for seed in (7, 8):
            reader.give_preview(seed, b"event: preview\ndata: %d\n\n" % (10 * number + seed))
    reader.see(sight(JobStatus.QUEUED), {})
    reader.see(sight(JobStatus.SUCCEEDED, RUN + 1), {})
    events = take(reader)
    assert names(events) == [
        "queued", "running", "progress", "preview", "preview", "queued", "running", "succeeded", "done",
    ]  # fmt: skip
    assert [event.data for event in events[2:5]] == [999, 9997, 9998]
    assert reader.is_ended
    assert reader.is_empty


def test_progress_and_previews_wait_for_the_run() -> None:
    reader = EventReader()
    follows = [reader.follows_run]
    reader.see(sight(JobStatus.QUEUED, 0), {7: b"event: preview\ndata: 7\n\n"})
    follows.append(reader.follows_run)
    assert names(take(reader)) == ["queued"]
    reader.see(sight(JobStatus.RUNNING), {7: b"event: preview\ndata: 7\n\n"})
    assert [*follows, reader.follows_run] == [False, False, True]
    assert names(take(reader)) == ["running", "progress", "preview"]


def test_what_has_been_seen_is_not_shown_again() -> None:
    reader = EventReader(Moment(JobStatus.RUNNING, RUN))
    reader.see(sight(JobStatus.RUNNING, steps_done=8), {})
    reader.see(sight(JobStatus.RUNNING, steps_done=9), {})
    assert names(take(reader)) == ["progress"]


def test_after_the_end_nothing_comes() -> None:
    reader = EventReader()
    reader.see(sight(JobStatus.CANCELED, 0), {})
    reader.see(sight(JobStatus.CANCELED, 0), {})
    assert names(take(reader)) == ["canceled", "done"]


def test_one_who_is_hung_up_on_gets_what_is_waiting() -> None:
    reader = EventReader()
    reader.see(sight(JobStatus.QUEUED, 0), {})
    reader.end()
    assert names(take(reader)) == ["queued"]
    assert reader.is_ended
    assert reader.is_empty


def test_a_moment_that_has_passed_is_told_as_it_was() -> None:
    reader = EventReader(Moment(JobStatus.QUEUED, 0))
    reader.see(sight(JobStatus.SUCCEEDED, steps_done=40), {})
    running, succeeded, done = take(reader)
    assert (running.data["status"], running.data["progress"]["steps_done"]) == ("running", 0)
    assert running.data["started_at"] == "2026-01-01T12:00:00Z"
    assert succeeded.data["progress"]["steps_done"] == 40
    assert done.data == succeeded.data
