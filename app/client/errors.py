"""What a client raises: one class for each thing that a program may want to do about it, by the problem's `code`."""

from __future__ import annotations

from typing import Final

from app.command_error import CommandError
from app.schemas import Problem


class ClientError(CommandError):
    """The server did not do what was asked.

    `code` is the problem's (docs/api.md lists them), or `unreachable`, `not-bouquet`, `damaged`. `status` is that of
    the answer, None without one; `retry_after` seconds, if the server named them; `problem` all that it said.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        problem: Problem | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.retry_after = retry_after
        self.problem = problem


class UnreachableError(ClientError):
    """No answer: no such server, no connection, or one that broke."""


class NotBouquetError(ClientError):
    """An answer, but none that Bouquet gives: another server, or a proxy's own."""


class DamagedError(ClientError):
    """A picture arrived whose checksum is not the one that the job names."""


class InvalidRequestError(ClientError):
    """The request is not one that can be done; `problem.errors` names the fields."""


class UnauthorizedError(ClientError):
    """The server wants an API key, or another one."""


class NotFoundError(ClientError):
    """There is no such job or image, or not any more."""


class ConflictError(ClientError):
    """The job has ended already, or the Idempotency-Key was used for another request."""


class QueueFullError(ClientError):
    """The queue stayed full for as long as was to be waited."""


class UnavailableError(ClientError):
    """The service, or a part of it, is not there just now, and was not for as long as was to be waited."""


class JobFailedError(ClientError):
    """The job came to a bad end."""


class JobCanceledError(ClientError):
    """Somebody canceled the job."""


_KINDS: Final[dict[str, type[ClientError]]] = {
    "bad-request": InvalidRequestError,
    "invalid-json": InvalidRequestError,
    "invalid-request": InvalidRequestError,
    "unauthorized": UnauthorizedError,
    "not-found": NotFoundError,
    "job-not-found": NotFoundError,
    "image-not-found": NotFoundError,
    "job-ended": ConflictError,
    "job-canceled": JobCanceledError,
    "idempotency-conflict": ConflictError,
    "queue-full": QueueFullError,
    "job-failed": JobFailedError,
    "flower-pending": UnavailableError,
    "not-ready": UnavailableError,
    "queue-unavailable": UnavailableError,
    "store-unavailable": UnavailableError,
}


def error_of(problem: Problem, status: int, retry_after: float | None) -> ClientError:
    """The error that a problem is raised as."""
    hint = f" (Try again in {retry_after:.0f} s.)" if retry_after is not None else ""
    kind = _KINDS.get(problem.code, ClientError)
    return kind(problem.code, problem.detail + hint, status=status, retry_after=retry_after, problem=problem)
