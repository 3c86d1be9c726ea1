"""What both clients share: which requests to send, how to read the answers, when to try again.

Nothing here touches the network or a clock's hand. An operation is a generator: it yields a Call to be sent or a Pause
to be made, is given the Answer (or a Lost, if there was none), and returns what was asked for. A transport runs it,
blocking or not; that is all in which the two clients differ.
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from app.client.errors import (
    ClientError,
    DamagedError,
    JobCanceledError,
    JobFailedError,
    NotBouquetError,
    UnreachableError,
    error_of,
)
from app.schemas import Image, Job, JobPage, JobStatus, ModelDescription, Problem
from worker.protocol import SamplerName

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_FIRST_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 0.5
_BUSY: Final = (429, 503)
_BAD_GATEWAY: Final = (502, 504)


@dataclasses.dataclass(frozen=True, slots=True)
class Retries:
    """For how long to try again, in seconds; 0 is not at all.

    `busy`: a server that answers 429 or 503. `outage`: one that does not answer, or for which a proxy answers 502 or
    504. `restart`: one that is away while a job is waited for or watched, which goes on meanwhile.
    """

    busy: float = 60.0
    outage: float = 5.0
    restart: float = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A request to be sent."""

    method: str
    path: str
    params: Mapping[str, str] = dataclasses.field(default_factory=dict)
    json: Any = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Time to let pass."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Lost:
    """There was no answer; what became of the request is not known."""

    reason: str


Operation = Generator[Call | Pause, Answer | Lost | None, T]


def server_url(base_url: str) -> httpx.URL:
    """The server's address. Raises UnreachableError for what is no http or https URL."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise UnreachableError("unreachable", f"{base_url} is not a URL: {error}.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UnreachableError("unreachable", f"{base_url} is not a URL of a server, such as http://127.0.0.1:8000.")
    return url


class Core:
    """The operations of one client."""

    def __init__(self, base_url: str, retries: Retries) -> None:
        self.base_url = base_url
        self.retries = retries

    def generate(
        self,
        steps: int,
        seed: int | None,
        count: int,
        sampler: SamplerName,
        kind: str | None,
        idempotency_key: str | None,
    ) -> Operation[Job]:
        """Queues a job."""
        body: dict[str, object] = {"steps": steps, "seed": seed, "count": count}
        if sampler != "ddim":
            body["sampler"] = sampler
        if kind is not None:
            body["kind"] = kind
        # With the key, an answer that was lost on the way can be asked for again without a second job.
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return self._read(Job, Call("POST", "/generate", json=body, headers=headers))

    def job(self, job_id: str) -> Operation[Job]:
        """Looks at a job."""
        return self._read(Job, Call("GET", _job_path(job_id)))

    def jobs(self, status: JobStatus | None, limit: int, cursor: str | None) -> Operation[JobPage]:
        """One page of jobs."""
        params = {"limit": str(limit)}
        if status is not None:
            params["status"] = status.value
        if cursor is not None:
            params["cursor"] = cursor
        return self._read(JobPage, Call("GET", "/jobs", params))

    def cancel(self, job_id: str) -> Operation[Job]:
        """Cancels a job; no error if an attempt before whose answer was lost did so."""
        call = Call("DELETE", _job_path(job_id))
        answer, attempts = yield from self._send(call)
        if answer.status == 409 and attempts > 1:
            job = yield from self.job(job_id)
            if job.status is JobStatus.CANCELED:
                return job
        return self._shape(Job, call, answer)

    def wait(self, job: Job, on_change: Callable[[Job], None] | None, seconds: float | None) -> Operation[Job]:
        """Looks at a job until it has ended."""
        pause, until = _FIRST_LOOK, None if seconds is None else time.monotonic() + seconds
        while not job.status.is_terminal:
            if until is not None and time.monotonic() >= until:
                return job
            yield Pause(pause if until is None else min(pause, max(until - time.monotonic(), 0.0)))
            pause = min(1.5 * pause, _LONGEST_LOOK)
            patient = dataclasses.replace(self.retries, outage=self.retries.restart, busy=self.retries.restart)
            latest = yield from self._read(Job, Call("GET", _job_path(job.id)), patient)
            if on_change and (latest.status, latest.progress) != (job.status, job.progress):
                on_change(latest)
            job = latest
        if job.status is JobStatus.FAILED:
            reason = job.error.detail if job.error else "no reason given"
            raise JobFailedError("job-failed", f"The job failed: {reason}", problem=job.error)
        if job.status is JobStatus.CANCELED:
            raise JobCanceledError("job-canceled", "The job was canceled.")
        return job

    def image(self, image: Image) -> Operation[bytes]:
        """Fetches a finished image and compares its checksum."""
        answer = yield from self._succeed(Call("GET", image.url))
        if hashlib.sha256(answer.content).hexdigest() != image.sha256:
            raise DamagedError(
                "damaged", f"{image.url} arrived damaged: its SHA-256 is not the one that the job names."
            )
        return answer.content

    def flower(
        self, seed: int, steps: int, sampler: SamplerName, kind: str | None, after: int | None
    ) -> Operation[bytes]:
        """Fetches a flower, which the server makes if need be."""
        params = _manner(steps, sampler, kind) | ({"after": str(after)} if after is not None else {})
        return self._picture(f"The flower {seed}", Call("GET", f"/flowers/{seed}.png", params))

    def morph(
        self, seed: int, toward: int, frames: int, steps: int, sampler: SamplerName, kind: str | None
    ) -> Operation[bytes]:
        """Fetches a morph, which the server makes if need be."""
        params = {"frames": str(frames)} | _manner(steps, sampler, kind)
        return self._picture(f"The morph of {seed} and {toward}", Call("GET", f"/morphs/{seed}-{toward}.webp", params))

    def model(self) -> Operation[ModelDescription]:
        """Asks what is served."""
        return self._read(ModelDescription, Call("GET", "/model"))

    def is_ready(self) -> Operation[bool]:
        """Asks whether flowers can be made now."""
        call = Call("GET", "/health/ready")
        answer, _ = yield from self._send(call, dataclasses.replace(self.retries, busy=0))
        if answer.status == 503:
            return False
        self._check(call, answer)
        return True

    def watch_call(self, job_id: str, last_event_id: str | None) -> Call:
        """The request for a job's events, after the one of that id."""
        headers = {"Accept": "text/event-stream"}
        return Call("GET", f"{_job_path(job_id)}/events", headers=headers | _last(last_event_id))

    def stream_begins(self, call: Call, answer: Answer) -> bool:
        """Whether a stream of events begins; False while the server is away. Raises ClientError for other answers."""
        if answer.status == 503 or _is_proxys_own(answer):
            return False
        self._check(call, answer)
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise self._foreign(call, answer)
        return True

    def lost(self, reason: str) -> UnreachableError:
        """The error for a server that does not answer."""
        return UnreachableError("unreachable", f"{self.base_url} cannot be reached ({reason}). Is it running?")

    def refused(self, answer: Answer) -> ClientError:
        """The error for a server that is away by its own word, or by that of a proxy."""
        problem = _problem(answer)
        if problem is None:
            return self.lost(f"it answers {answer.status}")
        return error_of(problem, answer.status, retry_after(answer.headers))

    # --- sending and reading ---

    def _read(self, shape: type[Shape], call: Call, retries: Retries | None = None) -> Operation[Shape]:
        answer, _ = yield from self._send(call, retries)
        return self._shape(shape, call, answer)

    def _succeed(self, call: Call) -> Operation[Answer]:
        answer, _ = yield from self._send(call)
        self._check(call, answer)
        return answer

    def _picture(self, what: str, call: Call) -> Operation[bytes]:
        """The bytes at an address whose ETag is their checksum."""
        answer = yield from self._succeed(call)
        etag = answer.headers.get("etag")
        if etag is not None and etag != f'"{hashlib.sha256(answer.content).hexdigest()}"':
            raise DamagedError("damaged", f"{what} arrived damaged: its SHA-256 is not its ETag.")
        return answer.content

    def _shape(self, shape: type[Shape], call: Call, answer: Answer) -> Shape:
        self._check(call, answer)
        try:
            return shape.model_validate_json(answer.content)
        except ValidationError as error:
            raise self._foreign(call, answer) from error

    def _check(self, call: Call, answer: Answer) -> None:
        if 200 <= answer.status < 300:
            return
        problem = _problem(answer)
        if problem is None:
            raise self._foreign(call, answer)
        raise error_of(problem, answer.status, retry_after(answer.headers))

    def _foreign(self, call: Call, answer: Answer) -> ClientError:
        detail = f"{self.base_url}{call.path} answers {answer.status} in a way that Bouquet does not."
        return NotBouquetError("not-bouquet", detail, status=answer.status)

    def _send(self, call: Call, retries: Retries | None = None) -> Operation[tuple[Answer, int]]:
        """The first answer that is not to be waited out, and how many attempts it took."""
        retries = retries or self.retries
        since, was_away = 0.0, None
        for attempts, pause in enumerate(backoff(), start=1):
            answer = yield call
            is_away = not isinstance(answer, Answer) or _is_proxys_own(answer)
            if is_away is not was_away:
                since, was_away = time.monotonic(), is_away
            if isinstance(answer, Answer) and not is_away:
                if answer.status not in _BUSY:
                    return answer, attempts
                asked = retry_after(answer.headers)
                pause, limit = (pause if asked is None else asked), retries.busy
            else:
                limit = retries.outage
            if time.monotonic() - since + pause > limit:
                if isinstance(answer, Answer):
                    return answer, attempts
                raise self.lost(answer.reason if answer is not None else "no answer")
            yield Pause(pause)
        raise AssertionError("the pauses never end")


def backoff() -> Iterator[float]:
    """Growing pauses, none quite like another client's, for ever."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.75, 1.25)
        pause = min(2 * pause, _LONGEST_PAUSE)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of `Retry-After`; None if there is none, or a date."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _problem(answer: Answer) -> Problem | None:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return None


def _is_proxys_own(answer: Answer) -> bool:
    """Whether a proxy tells that the server is away, as in a restart; what became of the request is not known."""
    return answer.status in _BAD_GATEWAY and _problem(answer) is None


def _job_path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _manner(steps: int, sampler: SamplerName, kind: str | None) -> dict[str, str]:
    chosen = {} if sampler == "ddim" else {"sampler": sampler}
    return {"steps": str(steps)} | chosen | ({} if kind is None else {"kind": kind})


def _last(event_id: str | None) -> dict[str, str]:
    return {} if event_id is None else {"Last-Event-ID": event_id}
