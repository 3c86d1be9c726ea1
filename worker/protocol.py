"""What the front end and the workers say to one another: requests, results, and the names of queues and keys.

Standard library only, because the front end imports it and must start without TensorFlow. Everything here is either
immutable or pure, and everything that crosses Redis is JSON.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, cast, get_args

QUEUE_NAME: Final = "bouquet"
"""The RQ queue of all generation jobs. One queue a worker: with two, RQ dequeues without its intermediate list."""

JOB_FUNCTION: Final = "worker.tasks.generate"
"""The one dotted name a job may carry. Workers refuse every other."""

MODEL_KEY: Final = "bouquet:model"
"""Redis key of the JSON description of the bundle that is served (`Bundle.description()`)."""

READY_KEY_PATTERN: Final = "bouquet:worker:*:ready"
"""Matches every `worker_ready_key`, for SCAN: the service is ready when there is at least one."""

SamplerName = Literal["ddim", "multistep"]
"""How the steps of an image follow from one another; the first is what a request without a word on it means."""

SAMPLERS: Final[tuple[SamplerName, ...]] = get_args(SamplerName)

ImageForm = Literal["png", "webp"]
"""The kind of file, and the end of its name. PNGs say in text chunks how to make them again; a WebP is for a morph."""

WORKER_METRICS_INDEX: Final = "bouquet:worker-metrics"
"""Sorted set of the workers that have told their figures; the score is when they lapse, in seconds since 1970."""

WORKER_METRICS_SECONDS: Final = 90
"""For how long a worker's figures are kept: longer than it takes to miss it, so that its last ones are scraped too."""

STORE_FIGURES_KEY: Final = "bouquet:store"
"""Redis hash of what retention found in the image store: bytes, images, limit_bytes, removed (since ever)."""

MAX_STEPS: Final = 1000
MAX_COUNT: Final = 64
MAX_SEED: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""

RETRIES: Final = 5
"""How often a job is run again after its worker died. A job that kills its process spends a retry of each mate, too;
once two workers have died under a job it is therefore run alone."""

RESULT_TTL: Final = 24 * 3600
"""Seconds for which a finished job can be asked for. Its images stay in the store."""

FAILURE_TTL: Final = 7 * 24 * 3600
"""Seconds for which a failed job, and its reason, can be asked for."""

WATCH_SECONDS: Final = 6
"""For how long a job counts as watched once a front end has said so at its `watch_key`."""

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_REVISION = re.compile(r"[0-9a-f]{12}")
_SEED = r"(0|[1-9][0-9]{0,15})"
_STEPS = r"([1-9][0-9]{0,3})"
_IMAGE_NAME = re.compile(
    rf"([0-9a-f]{{12}})-{_SEED}(?:to{_SEED}at([1-9][0-9]?)of([1-9][0-9]?))?"
    rf"-{_STEPS}(?:-(multistep))?(?:-after{_STEPS})?\.(png|webp)",
    re.ASCII,
)


class ProtocolError(ValueError):
    """A message between front end and worker breaks the protocol. `field` names the culprit."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def _integer(field: str, value: object, lowest: int, highest: int) -> int:
    """Returns `value` if it is an int (never a bool or a float) within the bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProtocolError(field, f"must be an integer, not {type(value).__name__}")
    if not lowest <= value <= highest:
        raise ProtocolError(field, f"must be between {lowest} and {highest}, not {value}")
    return value


def _number(field: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ProtocolError(field, f"must be a finite number, 0 or more, not {value!r}")
    return float(value)


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise ProtocolError(field, f"must be a string, not {type(value).__name__}")
    return value


def _sampler(value: object) -> None:
    if value not in SAMPLERS:
        raise ProtocolError("sampler", f"must be one of {', '.join(SAMPLERS)}, not {value!r}")


def _check_fields(
    what: str, values: object, expected: set[str], optional: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    """Returns `values` if it is a mapping with exactly the expected keys, and perhaps optional ones."""
    if not isinstance(values, Mapping):
        raise ProtocolError(what, f"must be an object, not {type(values).__name__}")
    if unknown := sorted(str(name) for name in values.keys() - expected - optional):
        raise ProtocolError(unknown[0], f"is not a field of a {what}")
    if missing := sorted(expected - values.keys()):
        raise ProtocolError(missing[0], f"is missing from the {what}")
    return values


_OPTIONAL_FIELDS: Final = frozenset({"sampler", "toward", "after"})


class ImageKey(NamedTuple):
    """What an image of the served bundle is a function of, and the form of its file.

    An image between two seeds, of a morph, is `part / parts` of the way from `seed` to `toward`, in lowest terms and
    with seed < toward; 0 / 1 is the seed's own. `after` 0 is the finished image, else it is as predicted after so many
    steps.
    """

    seed: int
    steps: int
    sampler: SamplerName = "ddim"
    toward: int = 0
    part: int = 0
    parts: int = 1
    after: int = 0
    form: ImageForm = "png"

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
class GenerationRequest:
    """What a client asks for: `count` images of `steps` steps each, by one sampler; image k has seed `seed + k`.

    With `toward`, a morph: the images lead from that of `seed` to that of the seed `toward`, in equal parts of the way.
    With `after`, one image as it is predicted after so many of its steps.

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

    def __post_init__(self) -> None:
        _integer("steps", self.steps, 1, MAX_STEPS)
        _integer("count", self.count, 1, MAX_COUNT)
        _integer("seed", self.seed, 0, MAX_SEED)
        _sampler(self.sampler)
        if self.after is not None:
            _integer("after", self.after, 1, self.steps - 1)
            _integer("count", self.count, 1, 1)
        if self.toward is not None:
            _integer("toward", self.toward, 0, MAX_SEED)
            _integer("count", self.count, 2, MAX_COUNT)
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
            return tuple(ImageKey(seed, self.steps, self.sampler, after=self.after or 0) for seed in self.image_seeds)
        return tuple(self._frame(part, self.count - 1, self.toward) for part in range(self.count))

    def _frame(self, part: int, parts: int, toward: int) -> ImageKey:
        """An image of a morph. One between the ends is counted from the lower seed, so it has one name both ways."""
        if part in (0, parts):
            return ImageKey(toward if part else self.seed, self.steps, self.sampler, form="webp")
        seed = self.seed
        if seed > toward:
            seed, toward, part = toward, seed, parts - part
        common = math.gcd(part, parts)
        return ImageKey(seed, self.steps, self.sampler, toward, part // common, parts // common, form="webp")

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
        return kwargs

    @classmethod
    def from_kwargs(cls, kwargs: object) -> GenerationRequest:
        """Reads an RQ job's keyword arguments. Raises ProtocolError for unknown, missing or bad fields."""
        return cls(**_check_fields("request", kwargs, {"steps", "seed", "count"}, _OPTIONAL_FIELDS))


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

    def __post_init__(self) -> None:
        if not _REVISION.fullmatch(_text("revision", self.revision)):
            raise ProtocolError("revision", f"must be 12 lower-case hex digits, not {self.revision!r}")
        _integer("seed", self.seed, 0, MAX_SEED)
        _integer("steps", self.steps, 1, MAX_STEPS)
        _sampler(self.sampler)
        _integer("after", self.after, 0, self.steps - 1)
        if self.form not in get_args(ImageForm):
            raise ProtocolError("form", f"must be one of {', '.join(get_args(ImageForm))}, not {self.form!r}")
        if (self.toward, self.part, self.parts) != (0, 0, 1):
            _integer("toward", self.toward, self.seed + 1, MAX_SEED)
            _integer("parts", self.parts, 2, MAX_COUNT - 1)
            _integer("part", self.part, 1, self.parts - 1)
            if math.gcd(self.part, self.parts) != 1:
                raise ProtocolError("part", f"must be in lowest terms, not {self.part} of {self.parts}")

    @property
    def key(self) -> ImageKey:
        """All of it but the revision."""
        return ImageKey(self.seed, self.steps, self.sampler, self.toward, self.part, self.parts, self.after, self.form)

    @property
    def name(self) -> str:
        """The image's name in the store and in its URL."""
        sampler = "" if self.sampler == "ddim" else f"-{self.sampler}"
        after = f"-after{self.after}" if self.after else ""
        return f"{self.revision}-{self.key.origin}-{self.steps}{sampler}{after}.{self.form}"


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
    revision, seed, toward, part, parts, steps, sampler, after, form = match.groups()
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
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRecord:
    """One finished image: where it is in the store, and what is there. `bytes` is the size of the file.

    `seed` is that of the image's key: of one between two seeds, the lower.
    """

    seed: int
    name: str
    width: int
    height: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        _integer("seed", self.seed, 0, MAX_SEED)
        parse_image_name(_text("name", self.name))
        for field in ("width", "height", "bytes"):
            _integer(field, getattr(self, field), 1, MAX_SEED)
        if not re.fullmatch(r"[0-9a-f]{64}", _text("sha256", self.sha256)):
            raise ProtocolError("sha256", "must be 64 lower-case hex digits")


_RECORD_FIELDS = {field.name for field in dataclasses.fields(ImageRecord)}


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
        fields = _check_fields("result", value, {"revision", "images", "run_seconds"})
        if not isinstance(fields["images"], list):
            raise ProtocolError("images", "must be a list")
        images = tuple(ImageRecord(**_check_fields("image", image, _RECORD_FIELDS)) for image in fields["images"])
        return cls(_text("revision", fields["revision"]), images, _number("run_seconds", fields["run_seconds"]))


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a running job is: `steps_done` image-steps of `request.image_steps`, and finished images."""

    steps_done: int = 0
    images_done: int = 0

    def __post_init__(self) -> None:
        _integer("steps_done", self.steps_done, 0, MAX_STEPS * MAX_COUNT)
        _integer("images_done", self.images_done, 0, MAX_COUNT)

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
        _integer("seed", self.seed, 0, MAX_SEED)
        _integer("steps", self.steps, 1, MAX_STEPS)
        _integer("steps_done", self.steps_done, 1, self.steps)
        if not _BASE64.fullmatch(_text("png", self.png)):
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
    return shape(**_check_fields(kind, fields, {field.name for field in dataclasses.fields(shape)}))


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerReadiness:
    """What a worker says of itself at `worker_ready_key` once it has loaded its bundle and warmed up.

    `image_steps_per_second` is the measured rate of the network at full slots.
    """

    revision: str
    slots: int
    image_steps_per_second: float

    def to_json(self) -> str:
        """The JSON text at `worker_ready_key`."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> WorkerReadiness:
        """Reads what `to_json` wrote. Raises ProtocolError for anything else."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise ProtocolError("readiness", "is not JSON") from error
        fields = _check_fields("readiness", value, {"revision", "slots", "image_steps_per_second"})
        return cls(
            _text("revision", fields["revision"]),
            _integer("slots", fields["slots"], 1, 2**31),
            _number("image_steps_per_second", fields["image_steps_per_second"]),
        )


def progress_key(job_id: str) -> str:
    """Redis key of a job's `Progress` hash; expires a while after the last write."""
    return f"bouquet:progress:{job_id}"


def watch_key(job_id: str) -> str:
    """Redis key that is there while somebody watches the job; the front end renews it, WATCH_SECONDS at a time."""
    return f"bouquet:watch:{job_id}"


def message_channel(job_id: str) -> str:
    """Redis channel (publish and subscribe) of a watched job's `JobMessage`s."""
    return f"bouquet:messages:{job_id}"


def worker_ready_key(worker_name: str) -> str:
    """Redis key of a worker's `WorkerReadiness`; the beat refreshes it, so it is gone soon after the worker is."""
    return f"bouquet:worker:{worker_name}:ready"


def worker_metrics_key(worker_name: str) -> str:
    """Redis key of a worker's figures: Prometheus' text format, compressed by zlib; see worker/metrics.py."""
    return f"bouquet:worker:{worker_name}:metrics"


@dataclasses.dataclass(frozen=True, slots=True)
class FailureReason:
    """Why a job failed: a stable `code` for programs and a `detail` of one line for people.

    A worker ends the failure text it gives RQ with `to_text()`. Codes: `foreign-job`, `invalid-request`,
    `deadline-exceeded`, `stopped` (on request, through RQ), `store-failed`, `computation-failed`, `worker-lost` (died
    under the job, no retries left) and `internal-error` (everything else).
    """

    code: str
    detail: str

    def to_text(self) -> str:
        """One line, the last of the failure text."""
        return f"bouquet-failure {self.code}: {' '.join(self.detail.split())}"

    @classmethod
    def from_text(cls, text: str | None) -> FailureReason:
        """Finds the reason in RQ's failure text; texts that RQ itself wrote are given a code as well."""
        lines = [line for line in (text or "").splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if match := re.fullmatch(r"bouquet-failure ([a-z-]+): (.*)", last):
            return cls(match[1], match[2])
        if "AbandonedJobError" in last:
            return cls("worker-lost", f"The worker died {RETRIES + 1} times while it ran this job.")
        return cls("internal-error", "The job failed for a reason that was not foreseen; the worker's log has it.")


def job_timeout(request: GenerationRequest) -> int:
    """The deadline of a job in seconds, counted from its start in a worker.

    Five minutes and half a second an image-step: some thirty times what two CPU cores need, so it strikes only at
    what is stuck or hopelessly crowded.
    """
    return 300 + math.ceil(0.5 * request.image_steps)


def enqueue_options(request: GenerationRequest) -> dict[str, Any]:
    """The options every job is enqueued with, for `rq.Queue(QUEUE_NAME, serializer=JSONSerializer).enqueue`:

        queue.enqueue(JOB_FUNCTION, kwargs=request.to_kwargs(), **enqueue_options(request))

    No time to live while queued: nothing accepted is ever dropped. Retries come at once, since an interval would need
    RQ's scheduler process, and at the front, since the job has waited its turn. RQ is imported here and not above, so
    that this file reads without it.
    """
    from rq import Retry

    return {
        "description": "generate " + " ".join(f"{name}={value}" for name, value in request.to_kwargs().items()),
        "job_timeout": job_timeout(request),
        "result_ttl": RESULT_TTL,
        "failure_ttl": FAILURE_TTL,
        "ttl": None,
        "retry": Retry(max=RETRIES, enqueue_at_front=True),
    }
