"""Watching jobs, with a real Valkey, real front ends and real workers whose pace is known."""

from __future__ import annotations

import base64
import collections
import io
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from app.job_moments import read_event_id
from tests.event_stream import Event, statuses, watch
from tests.front_end import FrontEnd
from tests.integration.conftest import StartWorker
from tests.light_worker import REVISION, SIZE, light_image
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from worker.protocol import image_name, message_channel, watch_key

StartFrontEnd = Callable[[], FrontEnd]
STEP_SECONDS = 0.05


@pytest.fixture
def start_front_end(valkey: ValkeyServer, tmp_path: Path, store_folder: Path) -> Iterator[StartFrontEnd]:
    started: list[FrontEnd] = []

    def start() -> FrontEnd:
        front_end = FrontEnd(tmp_path / f"front{len(started)}", valkey.url, store_folder)
        started.append(front_end)
        return front_end.__enter__()

    yield start
    for front_end in started:
        front_end.__exit__(None, None, None)


def submit(api: httpx.Client, **wish: int) -> str:
    response = api.post("/generate", json=wish)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def pixels(event: Event) -> np.ndarray[Any, np.dtype[np.uint8]]:
    data = base64.b64decode(event.data["png"], validate=True)
    assert data.startswith(b"\x89PNG")
    return np.asarray(Image.open(io.BytesIO(data)))


def until(events: Iterator[Event], name: str, status: str | None = None) -> Event:
    return next(event for event in events if event.name == name and status in (None, event.data.get("status")))


def test_a_job_is_seen_from_the_queue_to_its_end(api: httpx.Client, start_light_worker: StartWorker) -> None:
    job_id = submit(api, steps=40, seed=7)
    stream = watch(api, job_id)
    events = [next(stream)]
    assert (events[0].name, events[0].data["status"], events[0].data["queue"]["position"]) == ("status", "queued", 1)
    start_light_worker("--step-seconds", str(STEP_SECONDS))
    events += stream

    assert statuses(events) == ["queued", "running", "succeeded"]
    assert [event.name for event in events[-2:]] == ["status", "done"]
    assert events[-1].data == events[-2].data == api.get(f"/jobs/{job_id}").json()
    assert all((event.id is not None) == (event.name in ("status", "done")) for event in events)
    assert all(read_event_id(event.id) for event in events if event.id is not None)

    running = next(place for place, event in enumerate(events) if event.data.get("status") == "running")
    done = [event.data["steps_done"] for event in events[running:] if event.name == "progress"]
    assert done == sorted(done)
    assert len(set(done)) > 5
    assert all(event.data["steps_total"] == 40 for event in events if event.name == "progress")

    previews = [event for event in events if event.name == "preview"]
    steps = [event.data["steps_done"] for event in previews]
    assert events.index(previews[0]) > running
    assert len(previews) > 5
    assert steps == sorted(set(steps))
    for event in previews:
        assert (event.data["seed"], event.data["steps"]) == (7, 40)
        assert pixels(event).shape == (SIZE, SIZE, 3)
    # Ten a second of twenty steps; by the worker's clock, since they may be held up on the way.
    assert len(previews) <= 10 * events[-1].data["metrics"]["run_seconds"] + 1


def test_each_finished_image_is_shown_as_it_is(api: httpx.Client, start_light_worker: StartWorker) -> None:
    start_light_worker("--step-seconds", "0.05", slots=8)
    job_id = submit(api, steps=15, seed=100, count=24)
    last = {event.data["seed"]: event for event in watch(api, job_id) if event.name == "preview"}
    whole = [event for event in last.values() if event.data["steps_done"] == 15]
    assert len(whole) >= 4
    for event in whole:
        np.testing.assert_array_equal(pixels(event), light_image(event.data["seed"], 15))
        picture = api.get(f"/images/{image_name(REVISION, event.data['seed'], 15)}").content
        np.testing.assert_array_equal(pixels(event), np.asarray(Image.open(io.BytesIO(picture))))


def test_who_comes_late_sees_the_present_first(api: httpx.Client, start_light_worker: StartWorker) -> None:
    start_light_worker("--step-seconds", str(STEP_SECONDS))
    job_id = submit(api, steps=60, seed=7, count=2)
    early = watch(api, job_id)
    next(event for event in early if event.name == "progress" and event.data["steps_done"] > 0)
    until(early, "preview")  # which may come before: progress is written ten times a second and no more
    late = watch(api, job_id)
    first = next(late)
    assert (first.name, first.data["status"]) == ("status", "running")
    # What the early one has seen is not waited for again; newer progress comes behind the previews.
    present = {event.name: event for event in itertools.islice(late, 3)}
    assert present["progress"].data["steps_done"] > 0
    assert "preview" in present
    assert statuses(late) == ["succeeded"]


def test_a_finished_job_is_told_at_once(api: httpx.Client, start_light_worker: StartWorker) -> None:
    start_light_worker()
    job_id = submit(api, steps=2, seed=7)
    assert statuses(watch(api, job_id))[-1] == "succeeded"
    events = list(watch(api, job_id))
    assert [(event.name, event.data["status"]) for event in events] == [("status", "succeeded"), ("done", "succeeded")]
    # Who has seen the status is told that nothing follows; who has seen that, that there is no need to come again.
    assert list(watch(api, job_id, events[0].id)) == [events[1]]
    again = api.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": str(events[1].id)})
    assert (again.status_code, again.content) == (204, b"")
    # And who has seen nothing but the queue is told all that was.
    queued = list(watch(api, job_id, "queued-0"))
    assert statuses(queued) == ["running", "succeeded"]
    assert (queued[0].data["finished_at"], queued[0].data["images"]) == (None, [])
    assert queued[0].data["started_at"] == queued[1].data["started_at"]


def test_a_reader_goes_on_where_it_was_after_the_front_end_has_been_restarted(
    start_front_end: StartFrontEnd, start_light_worker: StartWorker
) -> None:
    first = start_front_end()
    job_id = submit(first.api, steps=200, seed=7)  # longer than a front end takes to start on a busy machine
    stream = watch(first.api, job_id)
    last = next(stream)
    assert last.data["status"] == "queued"
    first.process.kill()
    first.process.wait()
    with pytest.raises(httpx.TransportError):
        list(stream)

    # Nobody is there when it begins.
    second = start_front_end()
    start_light_worker("--step-seconds", str(STEP_SECONDS))
    poll(lambda: second.api.get(f"/jobs/{job_id}").json()["status"] == "running", "the job runs")
    stream = watch(second.api, job_id, last.id)
    last = until(stream, "status")
    assert last.data["status"] == "running"
    until(stream, "preview")
    assert second.stop() == 0
    assert not [event for event in stream if event.name in ("status", "done")]  # it ended, and in order

    third = start_front_end()
    events = list(watch(third.api, job_id, last.id))
    assert statuses(events) == ["succeeded"]
    assert events[-1].name == "done"


def test_two_readers_on_two_front_ends_see_the_same(
    start_front_end: StartFrontEnd, start_light_worker: StartWorker
) -> None:
    one, other = start_front_end(), start_front_end()
    job_id = submit(one.api, steps=40, seed=7, count=2)
    with ThreadPoolExecutor(2) as pool:
        streams = [watch(front_end.api, job_id) for front_end in (one, other)]
        first = [next(stream) for stream in streams]
        start_light_worker("--step-seconds", str(STEP_SECONDS))
        rests: list[list[Event]] = list(pool.map(list, streams))
        seen = [[begin, *rest] for begin, rest in zip(first, rests, strict=True)]
    told = [[(event.name, event.id) for event in events if event.id is not None] for events in seen]
    assert told[0] == told[1]
    assert [statuses(events) for events in seen] == [["queued", "running", "succeeded"]] * 2
    previews = [{(event.data["seed"], event.data["steps_done"]) for event in events if event.name == "preview"}
                for events in seen]  # fmt: skip
    assert len(previews[0] & previews[1]) > 5


def test_a_job_that_is_canceled_while_it_is_watched(api: httpx.Client, start_light_worker: StartWorker) -> None:
    start_light_worker("--step-seconds", str(STEP_SECONDS))
    job_id = submit(api, steps=1000, seed=7)
    stream = watch(api, job_id)
    until(stream, "preview")
    assert api.delete(f"/jobs/{job_id}").status_code == 200
    events = list(stream)
    assert statuses(events) == ["canceled"]
    assert events[-1].name == "done"


def test_a_job_whose_worker_dies_is_queued_again_and_no_status_is_missed(
    api: httpx.Client, start_light_worker: StartWorker
) -> None:
    worker = start_light_worker("--step-seconds", str(STEP_SECONDS))
    job_id = submit(api, steps=60, seed=7)
    stream = watch(api, job_id)
    events = [until(stream, "status", "running"), until(stream, "preview")]
    worker.kill()
    start_light_worker("--step-seconds", "0.01")
    events += stream
    assert statuses(events) == ["running", "queued", "running", "succeeded"]
    assert len({event.id for event in events if event.name == "status"}) == 4


def test_nothing_is_published_for_those_who_are_not_there(
    api: httpx.Client, client: redis.Redis, start_light_worker: StartWorker
) -> None:
    start_light_worker("--step-seconds", str(STEP_SECONDS))
    spy = client.pubsub(ignore_subscribe_messages=True)
    spy.psubscribe(message_channel("*"))
    assert spy.get_message(timeout=5) is None  # that it has subscribed
    unwatched, watched = submit(api, steps=40, seed=1000), submit(api, steps=40, seed=2000)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(watch(api, watched)))
        poll(lambda: api.get(f"/jobs/{unwatched}").json()["status"] == "succeeded", "the unwatched job is done", 30)
        keys = {key.decode() for key in client.scan_iter("*") if unwatched.encode() in key}
        events = reading.result(30)
    assert statuses(events)[-1] == "succeeded"
    heard: collections.Counter[str] = collections.Counter()
    while (message := spy.get_message(timeout=0.2)) is not None:
        heard[message["channel"].decode()] += 1
    spy.close()
    assert set(heard) == {message_channel(watched)}
    assert heard[message_channel(watched)] > 5
    assert not [key for key in keys if key.startswith("bouquet:") and "progress" not in key], keys
    # Nothing is left of the watched one either, once its readers are gone.
    poll(lambda: not client.exists(watch_key(watched)), "the watch has lapsed", 30)


def test_a_reader_that_reads_nothing_holds_nobody_up(
    start_front_end: StartFrontEnd, start_light_worker: StartWorker
) -> None:
    front_end = start_front_end()
    start_light_worker("--step-seconds", "0.02")
    job_id = submit(front_end.api, steps=200, seed=7, count=2)
    url = front_end.api.base_url
    with socket.create_connection((url.host, url.port or 80)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        events = list(watch(front_end.api, job_id))
        assert statuses(events)[-1] == "succeeded"
        assert len([event for event in events if event.name == "preview"]) > 20
        # It has missed previews, perhaps, but no status, and is told of the end.
        slow.settimeout(20)
        text = b""
        while b"event: done" not in text:
            piece = slow.recv(65536)
            assert piece
            text += piece
    assert b'"status":"running"' in text or b'"status":"queued"' in text
    assert b'event: status\ndata: {"id":"' + job_id.encode() + b'","status":"succeeded"' in text


def test_the_front_end_stops_in_time_though_it_is_watched(start_front_end: StartFrontEnd) -> None:
    front_end = start_front_end()
    streams = [watch(front_end.api, submit(front_end.api, steps=20, seed=seed)) for seed in range(5)]
    for stream in streams:
        assert next(stream).data["status"] == "queued"
    assert front_end.stop() == 0
    assert "graceful shutdown exceeded" not in front_end.log
    assert [statuses(stream) for stream in streams] == [[]] * 5
    assert "rror" not in front_end.log


def test_a_queue_that_moves_is_seen(api: httpx.Client) -> None:
    first, second = submit(api, steps=20, seed=1), submit(api, steps=20, seed=2)
    stream = watch(api, second)
    assert next(stream).data["queue"]["position"] == 2
    api.delete(f"/jobs/{first}")
    assert until(stream, "progress").data["queue"]["position"] == 1
    stream.close()  # type: ignore[attr-defined]


def test_a_valkey_that_restarts_is_found_again(
    valkey: ValkeyServer, api: httpx.Client, start_light_worker: StartWorker
) -> None:
    job_id = submit(api, steps=40, seed=7)
    stream = watch(api, job_id)
    assert next(stream).data["status"] == "queued"
    valkey.stop()
    valkey.start()
    start_light_worker("--step-seconds", str(STEP_SECONDS))
    events = list(stream)
    assert statuses(events) == ["running", "succeeded"]
    assert any(event.name == "preview" for event in events)


def test_errors_and_other_methods(api: httpx.Client) -> None:
    for unknown in ("nobody", "0" * 32 + "-20"):
        response = api.get(f"/jobs/{unknown}/events")
        assert (response.status_code, response.json()["code"]) == (404, "job-not-found")
    job_id = submit(api, steps=20, seed=1)
    head = api.head(f"/jobs/{job_id}/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")
    assert api.post(f"/jobs/{job_id}/events").status_code == 405
    # An id that is none is as good as nothing seen.
    for strange in ("", "succeeded", "running--1", "queued-0-done-done", "x" * 300):
        stream = watch(api, job_id, strange)
        assert next(stream).data["status"] == "queued"
        stream.close()  # type: ignore[attr-defined]


def test_many_readers_of_many_jobs(api: httpx.Client, start_light_worker: StartWorker) -> None:
    """Two hundred at once, each of whom sees every status of its job once."""
    job_ids = [submit(api, steps=3, seed=1000 * number) for number in range(50)]
    ready = threading.Barrier(200)

    def begin(job_id: str) -> tuple[Event, Iterator[Event]]:
        ready.wait(60)  # all come at the same time
        stream = watch(api, job_id)
        return next(stream), stream

    def go_on(begun: tuple[Event, Iterator[Event]]) -> list[str]:
        first, stream = begun
        return statuses([first, *stream])

    with ThreadPoolExecutor(200) as pool:
        begun = list(pool.map(begin, job_ids * 4))
        start_light_worker("--step-seconds", "0.01")
        for seen in pool.map(go_on, begun):
            assert seen == ["queued", "running", "succeeded"]


def test_more_requests_at_once_than_there_are_connections_to_redis(api: httpx.Client) -> None:
    job_id = submit(api, steps=20, seed=1)
    ready = threading.Barrier(200)

    def read(_: int) -> int:
        ready.wait(60)
        return api.get(f"/jobs/{job_id}").status_code

    with ThreadPoolExecutor(200) as pool:
        assert set(pool.map(read, range(200))) == {200}
