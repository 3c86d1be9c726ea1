"""Events as bytes, and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import sse
from tests.event_stream import Event, parse

NAMES = st.sampled_from(["status", "progress", "preview", "done"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
IDS = st.none() | st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)


def read(stream: bytes) -> list[Event]:
    return list(parse(stream.decode().split("\n")[:-1]))


@given(st.lists(st.tuples(NAMES, JSON, IDS), max_size=5))
def test_what_is_written_is_read(events: list[tuple[str, object, str | None]]) -> None:
    stream = sse.retry(1000) + sse.HEARTBEAT
    for name, data, event_id in events:
        stream += sse.event(name, json.dumps(data, ensure_ascii=False), event_id) + sse.HEARTBEAT
    assert read(stream) == [Event(*event) for event in events]


@pytest.mark.parametrize(
    ("name", "data", "event_id"),
    [("status\nid: 1", "{}", None), ("status", "{\n}", None), ("status", "{\r}", None), ("status", "{}", "1\n2")],
)
def test_what_is_not_one_line_is_refused(name: str, data: str, event_id: str | None) -> None:
    with pytest.raises(ValueError, match="one line"):
        sse.event(name, data, event_id)


def test_an_event_that_breaks_off_is_none() -> None:
    assert read(sse.event("status", "{}", "1")[:-1]) == []
