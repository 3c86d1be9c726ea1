"""The front end under load, in small: what `bouquet bench api` measures in large, without a word on time."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.api_flood import flood
from benchmarks.api_posts import post_steadily
from benchmarks.api_readers import WHOLE, read_events
from tests.front_end import FrontEnd
from tests.integration.conftest import StartWorker

FRONT_END = {"queue_limit": 2000}


def port_of(front_end: FrontEnd) -> int:
    port = front_end.api.base_url.port
    assert port is not None
    return port


@pytest.mark.parametrize("with_keys", [False, True])
def test_a_flood_is_pushed_back_and_others_are_answered_meanwhile(front_end: FrontEnd, with_keys: bool) -> None:
    """2000 image-steps may wait, which is 100 of these jobs: so many are accepted, to the last one."""
    seen = flood(port_of(front_end), 400, 0, with_keys=with_keys)
    assert seen.statuses == {202: 100, 429: 300}
    assert seen.without_retry_after == 0
    assert (seen.failed_probes, len(seen.probes) > 0) == (0, True)
    queued = 0
    cursor: str | None = ""
    while cursor is not None:
        page = front_end.api.get("/jobs", params={"limit": 100} | ({"cursor": cursor} if cursor else {})).json()
        queued, cursor = queued + len(page["jobs"]), page["next_cursor"]
    assert queued == 100


def test_a_probe_that_a_flood_does_not_outlast_is_not_left_out(front_end: FrontEnd) -> None:
    """A flood of nothing is over at once; what was asked meanwhile is answered later, and counts."""
    seen = flood(port_of(front_end), 0, 0)
    assert (seen.statuses.total(), len(seen.probes), seen.failed_probes) == (0, 1, 0)


def test_posts_at_a_steady_rate(front_end: FrontEnd) -> None:
    posts = post_steadily(port_of(front_end), 50.0, 1.0, 0)
    assert len(posts.from_due) == len(posts.from_sent) == 50
    assert all(due >= sent > 0 for due, sent in zip(posts.from_due, posts.from_sent, strict=True))


def test_no_reader_misses_a_status(front_end: FrontEnd, start_light_worker: StartWorker) -> None:
    async def begin() -> None:
        start_light_worker("--step-seconds", "0.005")

    readings = asyncio.run(read_events(port_of(front_end), 60, 6, 0, begin))
    assert readings.sequences == {WHOLE: 60}
