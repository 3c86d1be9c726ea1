"""Reads server-sent events as a browser does (HTML Living Standard, section 9.2.6)."""

from __future__ import annotations

import dataclasses
import json
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

import httpx

WITHOUT_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. The front ends of tests speak HTTP, and a client reads the certificates of the world in 30 ms of its
process's time: six seconds for two hundred readers, which come one after the other then."""


@dataclasses.dataclass(frozen=True)
class Event:
    """An event; `id` is its own, None if it has none."""

    name: str
    data: Any
    id: str | None


def parse(lines: Iterable[str]) -> Iterator[Event]:
    """Events out of lines without their ends. What is not ended by an empty line is dropped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line == "":
            if "data" in fields:
                yield Event(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            assert name not in fields, f"{name} comes twice in an event"
            fields[name] = value.removeprefix(" ")


def watch(api: httpx.Client, job_id: str, last_event_id: str | None = None) -> Iterator[Event]:
    """The events of a job; leaving the iterator closes the connection.

    Each has a client of its own: the garbage collector may close an iterator that was left in the middle of another
    request, whose pool of connections would then wait for itself.
    """
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    with (
        httpx.Client(base_url=api.base_url, headers=api.headers, timeout=api.timeout, verify=WITHOUT_TLS) as own,
        own.stream("GET", f"/jobs/{job_id}/events", headers=headers) as response,
    ):
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield from parse(response.iter_lines())


def statuses(events: Iterable[Event]) -> list[str]:
    return [event.data["status"] for event in events if event.name == "status"]
