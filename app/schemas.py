"""The shapes that clients see, in words of docs/api.md. Pydantic checks them; OpenAPI shows them."""

from __future__ import annotations

import enum
import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import WithJsonSchema

from app.job_ids import JOB_ID_PATTERN
from worker.protocol import (
    MAX_COUNT,
    MAX_KIND_LENGTH,
    MAX_SEED,
    MAX_STEPS,
    ProtocolError,
    SamplerName,
    check_kind,
)

DEFAULT_STEPS: Final = 20
DEFAULT_FRAMES: Final = 16
MAX_PAGE: Final = 100


def _exact_integer(value: object) -> object:
    """JSON has one kind of number, so 20.0 and 2e1 are the integer 20. A bool or a string is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _decimal(value: object) -> object:
    """An integer in an address has one spelling: decimal digits, no sign, no leading zeros."""
    if isinstance(value, str):
        if not re.fullmatch(r"0|[1-9][0-9]{0,19}", value, re.ASCII):
            raise ValueError("must be an integer, written in decimal digits without leading zeros")
        return int(value)
    return value


def _kind(value: str) -> str:
    try:
        return check_kind(value)
    except ProtocolError as error:
        raise ValueError(error.reason) from None


# The bounds come before the reading, else the JSON schemas would not have them.
Seed = Annotated[int, Field(ge=0, le=MAX_SEED), BeforeValidator(_exact_integer)]
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS), BeforeValidator(_exact_integer)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT), BeforeValidator(_exact_integer)]

AddressSeed = Annotated[
    int,
    Field(ge=0, le=MAX_SEED),
    BeforeValidator(_decimal),
    Field(description="The seed, 0 to 2^53 - 1.", examples=[7]),
]
AddressSteps = Annotated[int, Field(ge=1, le=MAX_STEPS), BeforeValidator(_decimal)]
AddressFrames = Annotated[int, Field(ge=2, le=MAX_COUNT), BeforeValidator(_decimal)]
AddressLimit = Annotated[int, Field(ge=1, le=MAX_PAGE), BeforeValidator(_decimal)]

Kind = Annotated[str, Field(min_length=1, max_length=MAX_KIND_LENGTH), AfterValidator(_kind)]
AddressKind = Annotated[Kind | None, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": MAX_KIND_LENGTH})]

KIND_HELP: Final = (
    "The kind of flower, by its name in the `classes` of `GET /model`. Without it each seed decides. The same seed in "
    "another kind is another flower of the same composition and light."
)
SAMPLER_HELP: Final = (
    "`ddim`, or `multistep`: each step reckons with the one before as well, so that few steps come nearer to what many "
    "would give. The same noise to begin with, other pixels. Below 4 steps there is no difference."
)


class JobStatus(enum.StrEnum):
    """The life of a job: queued, running, then one of the three ends. A worker's death leads back to queued."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED)


class GenerateBody(BaseModel):
    """What to make. Every field has a default; unknown fields are refused."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"steps": 20, "seed": 7, "count": 1},
                {},
                {"seed": None, "count": 4},
                {"steps": 6, "seed": 7, "sampler": "multistep"},
                {"seed": 7, "count": 4, "kind": "sunflower"},
            ]
        },
    )

    steps: Steps = Field(default=DEFAULT_STEPS, description="Denoising steps of each image. 5 is a sketch, 20 is fine.")
    seed: Seed | None = Field(
        default=None, description="Image k has the seed `seed + k`. null: the server draws one and tells it."
    )
    count: Count = Field(default=1, description="How many images, each with a seed of its own.")
    sampler: SamplerName = Field(default="ddim", description=SAMPLER_HELP)
    kind: Kind | None = Field(default=None, description=KIND_HELP)

    @field_validator("count")
    @classmethod
    def _check_last_seed(cls, count: int, info: ValidationInfo) -> int:
        seed = info.data.get("seed")
        if seed is not None and seed + count - 1 > MAX_SEED:
            raise ValueError(f"seed + count - 1 must be at most {MAX_SEED}")
        return count


class Request(BaseModel):
    """What is being made, with the seed that was drawn where none was given."""

    steps: int
    seed: int
    count: int
    sampler: SamplerName = "ddim"
    toward: int | None = Field(default=None, description="Of a morph: the seed that it leads to, in `count` images.")
    after: int | None = Field(
        default=None, description="Of an image that is looked at on its way: after how many of its steps."
    )
    kind: str | None = Field(default=None, description="The kind of flower that was asked for.")


class Progress(BaseModel):
    """How far the job is. `steps_total` = steps x count (after x count where that is given)."""

    steps_done: int = Field(ge=0)
    steps_total: int = Field(ge=1)
    images_done: int = Field(ge=0)


class QueuePlace(BaseModel):
    """Where a queued job stands."""

    position: int = Field(ge=1, description="1 is the next to be taken.")
    eta_seconds: float | None = Field(
        description="Seconds until the job is expected to be finished, from the measured rate; null without a worker."
    )


class WatchedProgress(Progress):
    """The data of an event `progress`."""

    queue: QueuePlace | None = Field(description="null unless the job is queued.")


class PreviewImage(BaseModel):
    """The data of an event `preview`: an image as it is predicted so far."""

    seed: int
    steps_done: int = Field(ge=1)
    steps: int = Field(description="With the last step it is what the image will be.")
    png: str = Field(description="A PNG file of the image's size, in base64.")


class Image(BaseModel):
    """One finished image. Its address never changes and never shows anything else."""

    seed: int
    url: str = Field(examples=["/images/3f9a0c1b2d4e-7-20.png"])
    width: int
    height: int
    bytes: int = Field(description="Size of the PNG file.")
    sha256: str = Field(description="Of the PNG file, in hex; also its ETag.")
    kind: str | None = Field(
        default=None, description="What kind of flower it is; null where the bundle knows no kinds, and in a morph."
    )


class Metrics(BaseModel):
    """Where the time went; null as long as it is not known."""

    queued_seconds: float | None
    run_seconds: float | None


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, after RFC 9457. Programs go by `code`; `detail` is for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/docs#job-not-found"])
    title: str
    status: int
    detail: str
    code: Annotated[str, StringConstraints(pattern=r"^[a-z-]+$")] = Field(examples=["job-not-found"])
    instance: str
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


class Job(BaseModel):
    """One request on its way from the queue to its images."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request: Request
    progress: Progress
    queue: QueuePlace | None = Field(description="null unless the job is queued.")
    images: list[Image] = Field(description="In the order of their seeds; empty until the job has succeeded.")
    error: Problem | None = Field(description="Why the job failed.")
    metrics: Metrics


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(
        description="Give it as `cursor` to go on; null at the end. Before it, too, a page may be short, or empty."
    )


# In an address there is no null: what may be left out is described as what it is when it is there.


class JobsQuery(BaseModel):
    """What to list."""

    model_config = ConfigDict(extra="forbid")

    status: Annotated[JobStatus | None, WithJsonSchema({"type": "string", "enum": list(JobStatus)})] = Field(
        default=None, description="Only jobs in this state."
    )
    limit: AddressLimit = Field(default=20, description="Jobs on a page.")
    cursor: Annotated[str | None, WithJsonSchema({"type": "string", "maxLength": 64, "pattern": JOB_ID_PATTERN})] = (
        Field(default=None, max_length=64, description="`next_cursor` of the page before.", examples=[None])
    )


class FlowerQuery(BaseModel):
    """How to make the flower."""

    model_config = ConfigDict(extra="forbid")

    steps: AddressSteps = Field(default=DEFAULT_STEPS, description="Denoising steps.")
    sampler: SamplerName = Field(default="ddim", description=SAMPLER_HELP)
    after: Annotated[AddressSteps | None, WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_STEPS})] = (
        Field(
            default=None,
            description="The flower as it is predicted after so many of its steps; finished without it, or with all.",
        )
    )
    kind: AddressKind = Field(default=None, description=KIND_HELP)


class MorphQuery(BaseModel):
    """How to make the morph."""

    model_config = ConfigDict(extra="forbid")

    frames: AddressFrames = Field(default=DEFAULT_FRAMES, description="Images on the way, both flowers included.")
    steps: AddressSteps = Field(default=DEFAULT_STEPS, description="Denoising steps of each.")
    sampler: SamplerName = Field(default="ddim", description=SAMPLER_HELP)
    kind: AddressKind = Field(default=None, description=KIND_HELP)


class ModelDescription(BaseModel):
    """The bundle that is served."""

    model_config = ConfigDict(extra="allow")

    name: str
    content_hash: str = Field(description="SHA-256 of the bundle's content, in hex.")
    revision: str = Field(description="The first 12 digits of the hash; part of every image's address.")
    image_size: int = Field(description="Pixels along a side.")
    classes: list[str] = Field(default=[], description="The kinds of flowers that can be asked for.")
    training_data: Any = None
    recipe: Any = None
    scores: Any = None


class Health(BaseModel):
    """That it is well."""

    status: str = Field(examples=["ready"])
    workers: int | None = Field(default=None, description="Workers that are warmed up and alive.")
