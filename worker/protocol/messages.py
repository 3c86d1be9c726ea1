"""What a worker tells of a job that runs: how far it is, what its images look like so far, and that it is over."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from worker.protocol.checks import ProtocolError, check_fields, check_integer, check_text
from worker.protocol.limits import MAX_COUNT, MAX_SEED, MAX_STEPS

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is: `steps_done` image-steps of `request.image_steps`, and finished images."""

    steps_done: int = 0
    images_done: int = 0

    def __post_init__(self) -> None:
        check_integer("steps_done", self.steps_done, 0, MAX_STEPS * MAX_COUNT)
        check_integer("images_done", self.images_done, 0, MAX_COUNT)

    def to_hash(self) -> dict[Any, Any]:
        """The fields of the Redis hash at `progress_key`, for redis-py's `hset(key, mapping=...)`."""
        return {"steps_done": self.steps_done, "images_done": self.images_done}

    @classmethod
    def from_hash(cls, fields: Mapping[bytes, bytes]) -> Progress:
        """Reads HGETALL's answer; an empty or missing hash is a job that has not begun."""
        return cls(int(fields.get(b"steps_done", 0)), int(fields.get(b"images_done", 0)))


@dataclasses.dataclass(frozen=True, slots=True)
class Preview:
    """An image of a running job as it is predicted so far; `png` is a PNG file of the bundle's size, in base64.

    Invariant: 1 <= steps_done <= steps; with the last step it shows what the finished image shows.
    """

    seed: int
    steps_done: int
    steps: int
    png: str

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0, MAX_SEED)
        check_integer("steps", self.steps, 1, MAX_STEPS)
        check_integer("steps_done", self.steps_done, 1, self.steps)
        if not _BASE64.fullmatch(check_text("png", self.png)):
            raise ProtocolError("png", "must be base64")


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """Says that a job has come to its end; RQ has the details."""


JobMessage = Progress | Preview | Ended
"""What a worker publishes on a watched job's `message_channel`. Nobody keeps it: who comes late reads the job."""

_MESSAGE_KINDS: Final[dict[str, type[JobMessage]]] = {"progress": Progress, "preview": Preview, "ended": Ended}


def write_message(message: JobMessage) -> str:
    """One line of JSON."""
    kind = next(kind for kind, shape in _MESSAGE_KINDS.items() if isinstance(message, shape))
    return json.dumps({kind: dataclasses.asdict(message)})


def read_message(text: str | bytes) -> JobMessage:
    """Reads what `write_message` wrote. Raises ProtocolError for anything else."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ProtocolError("message", "is not JSON") from error
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _MESSAGE_KINDS:
        raise ProtocolError("message", f"must have one member of {', '.join(_MESSAGE_KINDS)}")
    kind, fields = next(iter(value.items()))
    shape = _MESSAGE_KINDS[kind]
    return shape(**check_fields(kind, fields, {field.name for field in dataclasses.fields(shape)}))
