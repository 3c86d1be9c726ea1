"""Server-sent events as they go over the wire (HTML Living Standard, section 9.2)."""

from __future__ import annotations

from typing import Final

MEDIA_TYPE: Final = "text/event-stream"

HEARTBEAT: Final = b":\n\n"
"""A comment: keeps proxies from closing a silent connection, and finds out that a reader is gone."""


def event(name: str, data: str, event_id: str | None = None) -> bytes:
    """One event. `data` is one line, as JSON without indentation is; so are the name and the id.

    An event without an id leaves the reader's `Last-Event-ID` as it is.

    Raises:
        ValueError: something is not one line, and would be taken for another field or event.
    """
    for text in (name, data, event_id or ""):
        if "\n" in text or "\r" in text or "\0" in text:
            raise ValueError(f"an event's parts are one line each, not {text[:40]!r}")
    identity = f"id: {event_id}\n" if event_id is not None else ""
    return f"{identity}event: {name}\ndata: {data}\n\n".encode()


def retry(milliseconds: int) -> bytes:
    """Tells a reader how long to wait before it connects again."""
    return f"retry: {milliseconds}\n\n".encode()
