"""Reading a job's events out of lines: all that the server writes, and whatever else comes."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import sse
from app.client import Done, JobEvent, NotBouquetError, Preview, Progress, Status
from app.client.events import EventDecoder
from app.schemas import Job, PreviewImage, WatchedProgress
from tests.unit.app.test_client_core import JOB

job = Job.model_validate(JOB)


def decode(decoder: EventDecoder, data: bytes) -> list[JobEvent]:
    events = [decoder.feed(line) for line in data.decode().split("\n")]
    return [event for event in events if event is not None]


def test_what_the_server_writes_is_read() -> None:
    progress = WatchedProgress(steps_done=1, steps_total=5, images_done=0, queue=None)
    image = PreviewImage(seed=7, steps_done=1, steps=5, png=base64.b64encode(b"png").decode())
    stream = (
        sse.retry(250)
        + sse.event("status", job.model_dump_json(), "queued-0")
        + sse.HEARTBEAT
        + sse.event("progress", progress.model_dump_json())
        + sse.event("preview", image.model_dump_json())
        + sse.event("surprise", "{}")
        + sse.event("done", job.model_dump_json(), "succeeded-1-done")
    )
    decoder = EventDecoder()
    assert decode(decoder, stream) == [Status(job), Progress(progress), Preview(7, 1, 5, b"png"), Done(job)]
    assert decoder.last_event_id == "succeeded-1-done"
    assert decoder.retry_seconds == 0.25


def test_an_event_cut_off_counts_for_nothing() -> None:
    decoder = EventDecoder("queued-0")
    cut = sse.event("status", job.model_dump_json(), "running-1")[:-2]
    assert decode(decoder, cut) == []
    assert decoder.last_event_id == "queued-0"
    decoder.begin()
    assert decode(decoder, sse.event("done", job.model_dump_json(), "x")) == [Done(job)]


@pytest.mark.parametrize("data", ["{}", "no JSON", '{"seed":1,"steps_done":1,"steps":2,"png":"***"}'])
@pytest.mark.parametrize("name", ["status", "progress", "preview", "done"])
def test_an_event_that_is_none_of_ours_is_told(name: str, data: str) -> None:
    with pytest.raises(NotBouquetError):
        decode(EventDecoder(), sse.event(name, data))


@given(st.lists(st.text(max_size=30), max_size=20))
def test_whatever_lines_come_nothing_else_is_raised(lines: list[str]) -> None:
    decoder = EventDecoder()
    for line in lines:
        try:
            decoder.feed(line.replace("\n", ""))
        except NotBouquetError:
            return
