"""What a client asks for: the arguments of a job."""

from __future__ import annotations

import dataclasses
import math
from typing import Final

from worker.protocol.checks import ProtocolError, check_fields, check_integer
from worker.protocol.image_address import ImageKey
from worker.protocol.kind import check_kind
from worker.protocol.limits import MAX_COUNT, MAX_SEED, MAX_STEPS
from worker.protocol.sampler import SamplerName, check_sampler

_OPTIONAL_FIELDS: Final = frozenset({"sampler", "toward", "after", "kind"})


@dataclasses.dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What a client asks for: `count` images of `steps` steps each, by one sampler; image k has seed `seed + k`.

    With `toward`, a morph: the images lead from that of `seed` to that of the seed `toward`, in equal parts of the way.
    With `after`, one image as it is predicted after so many of its steps. With `kind`, all images are of that kind of
    flower, by its name in the bundle; without it each seed decides.

    Invariants, checked when made: 1 <= steps <= 1000, 1 <= count <= 64, 0 <= seed, seed + count - 1 <= 2**53 - 1, and
    `sampler` is one of SAMPLERS. A morph has count >= 2 and toward != seed; 1 <= after < steps, and then count is 1.

    Raises:
        ProtocolError: names the field that is out of range or of the wrong type.
    """

    steps: int
    seed: int
    count: int = 1
    sampler: SamplerName = "ddim"
    toward: int | None = None
    after: int | None = None
    kind: str | None = None

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, 1, MAX_STEPS)
        check_integer("count", self.count, 1, MAX_COUNT)
        check_integer("seed", self.seed, 0, MAX_SEED)
        check_sampler(self.sampler)
        if self.kind is not None:
            check_kind(self.kind)
        if self.after is not None:
            check_integer("after", self.after, 1, self.steps - 1)
            check_integer("count", self.count, 1, 1)
        if self.toward is not None:
            check_integer("toward", self.toward, 0, MAX_SEED)
            check_integer("count", self.count, 2, MAX_COUNT)
            if self.toward == self.seed:
                raise ProtocolError("toward", "must be another seed")
        elif self.seed + self.count - 1 > MAX_SEED:
            raise ProtocolError("seed", f"seed + count - 1 must be at most {MAX_SEED}")

    @property
    def image_seeds(self) -> tuple[int, ...]:
        """The seed of each image, in order, of a request that is no morph."""
        return tuple(range(self.seed, self.seed + self.count))

    @property
    def image_keys(self) -> tuple[ImageKey, ...]:
        """What each image is a function of, in order."""
        if self.toward is None:
            return tuple(
                ImageKey(seed, self.steps, self.sampler, after=self.after or 0, kind=self.kind or "")
                for seed in self.image_seeds
            )
        return tuple(self._frame(part, self.count - 1, self.toward) for part in range(self.count))

    def _frame(self, part: int, parts: int, toward: int) -> ImageKey:
        """An image of a morph. One between the ends is counted from the lower seed, so it has one name both ways."""
        kind = self.kind or ""
        if part in (0, parts):
            return ImageKey(toward if part else self.seed, self.steps, self.sampler, form="webp", kind=kind)
        seed = self.seed
        if seed > toward:
            seed, toward, part = toward, seed, parts - part
        common = math.gcd(part, parts)
        return ImageKey(seed, self.steps, self.sampler, toward, part // common, parts // common, form="webp", kind=kind)

    @property
    def image_steps(self) -> int:
        """The work in the request: network rows it takes, whoever shares the batch."""
        return (self.after or self.steps) * self.count

    def to_kwargs(self) -> dict[str, int | str]:
        """The keyword arguments of the RQ job."""
        kwargs: dict[str, int | str] = {"steps": self.steps, "seed": self.seed, "count": self.count}
        # Left out where it is the default, as in all jobs from before there was a choice: while a new version is rolled
        # out, old workers and new ones can then read one another's jobs.
        if self.sampler != "ddim":
            kwargs["sampler"] = self.sampler
        if self.toward is not None:
            kwargs["toward"] = self.toward
        if self.after is not None:
            kwargs["after"] = self.after
        if self.kind is not None:
            kwargs["kind"] = self.kind
        return kwargs

    @classmethod
    def from_kwargs(cls, kwargs: object) -> GenerationRequest:
        """Reads an RQ job's keyword arguments. Raises ProtocolError for unknown, missing or bad fields."""
        return cls(**check_fields("request", kwargs, {"steps", "seed", "count"}, _OPTIONAL_FIELDS))
