"""What a job that succeeded leaves in RQ: which images it has made."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

from worker.protocol.checks import ProtocolError, check_fields, check_integer, check_number, check_text
from worker.protocol.image_address import parse_image_name
from worker.protocol.limits import MAX_SEED

KIND_KEYWORD: Final = "bouquet:kind"
"""Of the text in a PNG file that names the flower's kind."""


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRecord:
    """One finished image: where it is in the store, and what is there. `bytes` is the size of the file.

    `seed` is that of the image's key: of one between two seeds, the lower. `kind` is what kind of flower it is; empty
    where the bundle knows none, and between two seeds.
    """

    seed: int
    name: str
    width: int
    height: int
    bytes: int
    sha256: str
    kind: str = ""

    def __post_init__(self) -> None:
        check_integer("seed", self.seed, 0, MAX_SEED)
        parse_image_name(check_text("name", self.name))
        for field in ("width", "height", "bytes"):
            check_integer(field, getattr(self, field), 1, MAX_SEED)
        if not re.fullmatch(r"[0-9a-f]{64}", check_text("sha256", self.sha256)):
            raise ProtocolError("sha256", "must be 64 lower-case hex digits")
        check_text("kind", self.kind)


_ADDED_LATER = frozenset({"kind"})  # jobs that ended before do not have it
_RECORD_FIELDS = {field.name for field in dataclasses.fields(ImageRecord)} - _ADDED_LATER


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationResult:
    """RQ's return value of a finished job: names, never pixels. Images are in the order of the request.

    `run_seconds` is the time from the job's start in the worker to its last image's arrival in the store.
    """

    revision: str
    images: tuple[ImageRecord, ...]
    run_seconds: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict, as RQ's JSONSerializer takes it."""
        return {
            "revision": self.revision,
            "images": [dataclasses.asdict(image) for image in self.images],
            "run_seconds": self.run_seconds,
        }

    @classmethod
    def from_json(cls, value: object) -> GenerationResult:
        """Reads what `to_json` wrote. Raises ProtocolError for anything else."""
        fields = check_fields("result", value, {"revision", "images", "run_seconds"})
        if not isinstance(fields["images"], list):
            raise ProtocolError("images", "must be a list")
        images = tuple(
            ImageRecord(**check_fields("image", image, _RECORD_FIELDS, _ADDED_LATER)) for image in fields["images"]
        )
        return cls(
            check_text("revision", fields["revision"]), images, check_number("run_seconds", fields["run_seconds"])
        )
