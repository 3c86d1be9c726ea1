"""The events of a job, read out of the lines that a server sends."""

from __future__ import annotations

import base64
import binascii
import dataclasses

from pydantic import ValidationError

from app.client.errors import NotBouquetError
from app.schemas import Job, PreviewImage, WatchedProgress


@dataclasses.dataclass(frozen=True, slots=True)
class Status:
    """The job has changed its status; the first one says how it is now."""

    job: Job


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far the job is; `progress.queue` is its place while it is queued."""

    progress: WatchedProgress


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """An image as it is predicted so far: `png` is a whole PNG file."""

    seed: int
    steps_done: int
    steps: int
    png: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """The job has ended; nothing comes after this."""

    job: Job


JobEvent = Status | Progress | Preview | Done


class EventDecoder:
    """Makes events out of lines (HTML Living Standard, section 9.2.6); knows from where to go on after a break."""

    def __init__(self, last_event_id: str | None = None) -> None:
        self.last_event_id = last_event_id
        self.retry_seconds = 1.0
        """How long to wait before coming again; the server says so."""
        self._name = ""
        self._data: list[str] = []
        self._id: str | None = None

    def begin(self) -> None:
        """A new stream begins: what was half read of the one before is thrown away."""
        self._name, self._data, self._id = "", [], None

    def feed(self, line: str) -> JobEvent | None:
        """Takes a line without its end; returns the event that it completes, if it does and the event is known.

        Raises:
            NotBouquetError: an event of a known name that does not look like one of Bouquet's.
        """
        if line:
            self._take(line)
            return None
        name, data, event_id = self._name, "\n".join(self._data), self._id
        self.begin()
        if not data:
            return None
        try:
            event = _event(name, data)
        except (ValidationError, binascii.Error) as error:
            raise NotBouquetError("not-bouquet", f"An event {name!r} is none of Bouquet's.") from error
        if event_id is not None:
            self.last_event_id = event_id
        return event

    def _take(self, line: str) -> None:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isdecimal():
            self.retry_seconds = int(value) / 1000


def _event(name: str, data: str) -> JobEvent | None:
    match name:
        case "status":
            return Status(Job.model_validate_json(data))
        case "progress":
            return Progress(WatchedProgress.model_validate_json(data))
        case "preview":
            image = PreviewImage.model_validate_json(data)
            return Preview(image.seed, image.steps_done, image.steps, base64.b64decode(image.png, validate=True))
        case "done":
            return Done(Job.model_validate_json(data))
        case _:
            return None
