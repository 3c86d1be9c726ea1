"""An RQ job as workers read it from Redis, where anybody may have written: what it asks for, or why it is refused."""

from __future__ import annotations

from typing import Final, NoReturn

from rq.exceptions import DeserializationError
from rq.job import Job, JobStatus

from worker.protocol import JOB_FUNCTION, FailureReason, GenerationRequest, ProtocolError

STARTS_FIELD: Final = "bouquet_starts"
"""Field of a job's hash: how often it was started, less how often it was given back."""

_SUSPICIOUS_STARTS: Final = 2


class ForeignCodeError(RuntimeError):
    """Something asked a job for the code it names. Bouquet never runs any."""


class RefusedError(Exception):
    """A job that is not to be run. `reason` says why."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = FailureReason(code, detail)


class GenerationJob(Job):
    """An RQ job whose named code is never imported: neither its function nor its callbacks, nor are webhooks sent.

    Whoever can write to Redis could otherwise have any importable function called.
    """

    starts = 0
    """How often it was started before, and neither finished nor given back; as of `fetch_taken`."""

    @property
    def is_suspect(self) -> bool:
        """Whether two workers have died under this job: it may be what killed them."""
        return self.starts >= _SUSPICIOUS_STARTS

    @property
    def func(self) -> NoReturn:
        raise ForeignCodeError(f"Bouquet does not import what job {self.id} names.")

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def send_webhooks(self, status: str | JobStatus, *, exc_string: str | None = None) -> None:
        """Sends nothing."""

    def request(self) -> GenerationRequest:
        """What the job asks for.

        Raises:
            RefusedError: it names another function, or has callbacks or other extras, or its arguments are bad.
        """
        try:
            function, instance, arguments, keywords = self.func_name, self.instance, self.args, self.kwargs
        except DeserializationError:
            raise RefusedError("foreign-job", "The job's data are not the JSON that Bouquet's jobs have.") from None
        if function != JOB_FUNCTION or instance is not None:
            raise RefusedError(
                "foreign-job", f"The job names the function {function!r}; only {JOB_FUNCTION} is run here."
            )
        extras = {
            "a success callback": self._success_callback_name,
            "a failure callback": self._failure_callback_name,
            "a stopped callback": self._stopped_callback_name,
            "webhooks": self.webhooks,
            "repeats": self.repeats_left,
        }
        if found := [name for name, value in extras.items() if value]:
            raise RefusedError("foreign-job", f"The job has {', '.join(found)}; jobs with those are refused.")
        if arguments:
            raise RefusedError("invalid-request", "The job has positional arguments; a request has named fields only.")
        try:
            return GenerationRequest.from_kwargs(keywords)
        except ProtocolError as error:
            raise RefusedError("invalid-request", str(error)) from error
