"""What an image is a function of, and the name that says so, in the store and in its URL: one spelling an image."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal, NamedTuple, cast, get_args

from worker.protocol.checks import ProtocolError, check_integer, check_text
from worker.protocol.kind import SPELT_KIND, check_kind, read_kind, spell_kind
from worker.protocol.limits import MAX_COUNT, MAX_SEED, MAX_STEPS
from worker.protocol.sampler import SamplerName, check_sampler

ImageForm = Literal["png", "webp"]
"""The kind of file, and the end of its name. PNGs say in text chunks how to make them again; a WebP is for a morph."""

_REVISION = re.compile(r"[0-9a-f]{12}")
_SEED = r"(0|[1-9][0-9]{0,15})"
_STEPS = r"([1-9][0-9]{0,3})"
_IMAGE_NAME = re.compile(
    rf"([0-9a-f]{{12}})-{_SEED}(?:to{_SEED}at([1-9][0-9]?)of([1-9][0-9]?))?"
    rf"-{_STEPS}(?:-(multistep))?(?:-of-({SPELT_KIND}))?(?:-after{_STEPS})?\.(png|webp)",
    re.ASCII,
)


class ImageKey(NamedTuple):
    """What an image of the served bundle is a function of, and the form of its file.

    An image between two seeds, of a morph, is `part / parts` of the way from `seed` to `toward`, in lowest terms and
    with seed < toward; 0 / 1 is the seed's own. `after` 0 is the finished image, else it is as predicted after so many
    steps. `kind` is the kind of flower that was asked for by name; empty: the seed decides, and the pixels are the same
    where it decides for that kind.
    """

    seed: int
    steps: int
    sampler: SamplerName = "ddim"
    toward: int = 0
    part: int = 0
    parts: int = 1
    after: int = 0
    form: ImageForm = "png"
    kind: str = ""

    @property
    def last_step(self) -> int:
        """How many steps it takes."""
        return self.after or self.steps

    @property
    def origin(self) -> str:
        """Where it starts from, as in its name."""
        return f"{self.seed}to{self.toward}at{self.part}of{self.parts}" if self.part else str(self.seed)

    def name(self, revision: str) -> str:
        """Its name in the store and in its URL, by the bundle of that revision. Raises ProtocolError."""
        return ImageAddress(revision, *self).name


@dataclasses.dataclass(frozen=True, slots=True)
class ImageAddress:
    """What an image is a function of: bundle revision (first 12 hex digits of its hash) and an ImageKey's parts.

    Raises:
        ProtocolError: one of them is out of range, or says what another spelling says.
    """

    revision: str
    seed: int
    steps: int
    sampler: SamplerName = "ddim"
    toward: int = 0
    part: int = 0
    parts: int = 1
    after: int = 0
    form: ImageForm = "png"
    kind: str = ""

    def __post_init__(self) -> None:
        if not _REVISION.fullmatch(check_text("revision", self.revision)):
            raise ProtocolError("revision", f"must be 12 lower-case hex digits, not {self.revision!r}")
        check_integer("seed", self.seed, 0, MAX_SEED)
        check_integer("steps", self.steps, 1, MAX_STEPS)
        check_sampler(self.sampler)
        check_integer("after", self.after, 0, self.steps - 1)
        if self.kind:
            check_kind(self.kind)
        if self.form not in get_args(ImageForm):
            raise ProtocolError("form", f"must be one of {', '.join(get_args(ImageForm))}, not {self.form!r}")
        if (self.toward, self.part, self.parts) != (0, 0, 1):
            check_integer("toward", self.toward, self.seed + 1, MAX_SEED)
            check_integer("parts", self.parts, 2, MAX_COUNT - 1)
            check_integer("part", self.part, 1, self.parts - 1)
            if math.gcd(self.part, self.parts) != 1:
                raise ProtocolError("part", f"must be in lowest terms, not {self.part} of {self.parts}")

    @property
    def key(self) -> ImageKey:
        """All of it but the revision."""
        return ImageKey(
            self.seed, self.steps, self.sampler, self.toward, self.part, self.parts, self.after, self.form, self.kind
        )

    @property
    def name(self) -> str:
        """The image's name in the store and in its URL."""
        sampler = "" if self.sampler == "ddim" else f"-{self.sampler}"
        after = f"-after{self.after}" if self.after else ""
        kind = f"-of-{spell_kind(self.kind)}" if self.kind else ""
        return f"{self.revision}-{self.key.origin}-{self.steps}{sampler}{kind}{after}.{self.form}"


def image_name(revision: str, seed: int, steps: int, sampler: SamplerName = "ddim") -> str:
    """`<revision>-<seed>-<steps>.png`, with `-multistep` after the steps of an image by that sampler.

    Raises:
        ProtocolError: values out of range.
    """
    return ImageAddress(revision, seed, steps, sampler).name


def parse_image_name(name: str) -> ImageAddress:
    """The inverse of `ImageAddress.name`, strict: one spelling an image. Raises ProtocolError for any other name."""
    match = _IMAGE_NAME.fullmatch(name)
    if match is None:
        raise ProtocolError(
            "name", "is not an image name: expected <revision>-<seed>-<steps>.png or <...>-multistep.png"
        )
    revision, seed, toward, part, parts, steps, sampler, kind, after, form = match.groups()
    return ImageAddress(
        revision,
        int(seed),
        int(steps),
        cast("SamplerName", sampler or "ddim"),
        int(toward or 0),
        int(part or 0),
        int(parts or 1),
        int(after or 0),
        cast("ImageForm", form),
        read_kind(kind) if kind else "",
    )
