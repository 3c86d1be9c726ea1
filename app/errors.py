"""Every error that a client can meet, and how it is told: `application/problem+json` (RFC 9457) with a stable code."""

from __future__ import annotations

import dataclasses
import enum
import http
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import redis.exceptions
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.store import StoreError

log = logging.getLogger("bouquet.api")

MEDIA_TYPE: Final = "application/problem+json"


class ProblemCode(enum.Enum):
    """The stable codes. Each knows its HTTP status, its title and what a client can do about it."""

    BAD_REQUEST = "bad-request", 400, "The request cannot be understood"
    INVALID_JSON = "invalid-json", 400, "The body is not valid JSON"
    INVALID_REQUEST = "invalid-request", 422, "A field of the request is not valid"
    UNAUTHORIZED = "unauthorized", 401, "An API key is needed"
    NOT_FOUND = "not-found", 404, "There is nothing at this address"
    JOB_NOT_FOUND = "job-not-found", 404, "There is no such job, or it has expired"
    IMAGE_NOT_FOUND = "image-not-found", 404, "There is no such image"
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "This address does not take this method"
    NOT_ACCEPTABLE = "not-acceptable", 406, "The answer cannot be given in this form"
    REQUEST_TIMEOUT = "request-timeout", 408, "The request came too slowly"
    JOB_ENDED = "job-ended", 409, "The job has already ended"
    JOB_CANCELED = "job-canceled", 409, "The job was canceled"
    IDEMPOTENCY_CONFLICT = "idempotency-conflict", 409, "This Idempotency-Key was used for another request"
    BODY_TOO_LARGE = "body-too-large", 413, "The body is too large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type", 415, "The body must be JSON"
    QUEUE_FULL = "queue-full", 429, "The queue is full"
    HEAD_TOO_LARGE = "head-too-large", 431, "The request's headers are too large"
    JOB_FAILED = "job-failed", 500, "The job failed"
    INTERNAL_ERROR = "internal-error", 500, "Something went wrong on our side"
    FLOWER_PENDING = "flower-pending", 503, "The flower is not ready yet"
    NOT_READY = "not-ready", 503, "The service is not ready"
    QUEUE_UNAVAILABLE = "queue-unavailable", 503, "The queue cannot be reached"
    STORE_UNAVAILABLE = "store-unavailable", 503, "The image store cannot be reached"

    def __init__(self, code: str, status: int, title: str) -> None:
        self.code = code
        self.status = status
        self.title = title


_BY_STATUS: Final = {
    400: ProblemCode.BAD_REQUEST,
    401: ProblemCode.UNAUTHORIZED,
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    406: ProblemCode.NOT_ACCEPTABLE,
    413: ProblemCode.BODY_TOO_LARGE,
    415: ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    422: ProblemCode.INVALID_REQUEST,
}


@dataclasses.dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: its name as the client wrote it (dots for depth) and a sentence."""

    field: str
    message: str


class ApiError(Exception):
    """Ends a request with a problem. `detail` is a sentence or two for people: what happened, and what to do next."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = tuple(errors)
        self.extra = dict(extra or {})

    def to_problem(self, instance: str, request_id: str | None = None) -> dict[str, Any]:
        """The problem as JSON. `instance` is the address that the error is about."""
        problem = problem_document(self.code.code, self.code.status, self.code.title, self.detail, instance)
        if request_id is not None:
            problem["request_id"] = request_id
        if self.errors:
            problem["errors"] = [dataclasses.asdict(error) for error in self.errors]
        return problem | self.extra


def problem_document(code: str, status: int, title: str, detail: str, instance: str) -> dict[str, Any]:
    """The members that every problem has. Its `type` leads to the page that explains the code."""
    return {
        "type": f"/docs#{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "instance": instance,
    }


def problem_response(error: ApiError, scope: Mapping[str, Any]) -> JSONResponse:
    """The answer to the request of an ASGI scope, for handlers and for middleware outside of them."""
    instance = quote(scope.get("path", "/"), safe="/:@!$&'()*+,;=~-._")
    problem = error.to_problem(instance, scope.get("state", {}).get("request_id"))
    headers = {"Cache-Control": "no-store"} | error.headers
    if (state := scope.get("state")) is not None:
        state["problem"] = error.code.code  # for the log and the metrics
    return JSONResponse(problem, error.code.status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Makes `app` answer every error, its own and those of its libraries, as a problem."""

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> JSONResponse:
        return problem_response(error, request.scope)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(invalid_request(error.errors(), skip=1), request.scope)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        problem = _from_http(request, error)
        if request.method == "OPTIONS" and problem.code is ProblemCode.METHOD_NOT_ALLOWED:
            return Response(status_code=204, headers=problem.headers)
        return problem_response(problem, request.scope)

    # Not answering, answering too late, or answering that it is full, loading, read-only or not durable just now.
    @app.exception_handler(redis.exceptions.ConnectionError)
    @app.exception_handler(redis.exceptions.TimeoutError)
    @app.exception_handler(redis.exceptions.ResponseError)
    async def redis_error(request: Request, error: redis.exceptions.RedisError) -> JSONResponse:
        log.error("Redis does not answer: %s", error)
        return problem_response(queue_unavailable(), request.scope)

    @app.exception_handler(StoreError)
    async def store_error(request: Request, error: StoreError) -> JSONResponse:
        log.error("The image store does not answer: %s", error)
        detail = "The image store does not answer. Nothing is lost; try again in a moment."
        problem = ApiError(ProblemCode.STORE_UNAVAILABLE, detail, headers={"Retry-After": "5"})
        return problem_response(problem, request.scope)


class ErrorBoundary:
    """ASGI middleware that turns an error nobody foresaw into a 500 that still passes the middleware around it.

    Starlette's own place for that is outside of all middleware, where the answer would get no request id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            request_id = scope.get("state", {}).get("request_id")
            log.exception("%s %s failed (request id %s)", scope["method"], scope["path"], request_id)
            detail = "The request met an error that was not foreseen. The server's log has it under the request id."
            await problem_response(ApiError(ProblemCode.INTERNAL_ERROR, detail), scope)(scope, receive, send)


def invalid_request(errors: Sequence[Any], skip: int = 0) -> ApiError:
    """A 422 out of pydantic's errors; `skip` leaves out the first parts of each place, such as `query`."""
    fields = [
        FieldError(".".join(str(part) for part in error["loc"][skip:]) or "body", _sentence(error)) for error in errors
    ]
    detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
    return ApiError(ProblemCode.INVALID_REQUEST, f"{detail}.", errors=fields)


def from_validation(error: ValidationError) -> ApiError:
    """A 422 out of what a pydantic model refused."""
    return invalid_request(error.errors(include_url=False, include_input=False, include_context=False))


def queue_unavailable() -> ApiError:
    """A 503 for when Redis does not answer. Whether a job was accepted is then unknown: an Idempotency-Key tells."""
    detail = "The queue does not answer. Jobs that were accepted are kept; try again in a moment."
    return ApiError(ProblemCode.QUEUE_UNAVAILABLE, detail, headers={"Retry-After": "5"})


_MESSAGES: Final = {
    "extra_forbidden": "is not a field that is known here",
    "missing": "is needed",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "int_type": "must be an integer",
}


def _sentence(error: Mapping[str, Any]) -> str:
    message: str = _MESSAGES.get(error["type"], error["msg"])
    return message.removeprefix("Value error, ").replace("Input should be", "must be")


def _from_http(request: Request, error: HTTPException) -> ApiError:
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        code = ProblemCode.BAD_REQUEST if error.status_code < 500 else ProblemCode.INTERNAL_ERROR
    if code is ProblemCode.NOT_FOUND:
        return ApiError(code, f"There is nothing at {request.url.path}. The addresses that there are: /docs.")
    if code is ProblemCode.METHOD_NOT_ALLOWED:
        allowed = ", ".join(_allowed_methods(request))
        detail = f"{request.method} does not go with {request.url.path}. Allowed: {allowed}."
        return ApiError(code, detail, headers={"Allow": allowed})
    return ApiError(code, error.detail or http.HTTPStatus(error.status_code).phrase, headers=error.headers)


def _allowed_methods(request: Request) -> list[str]:
    """All methods that the address takes, since the router names those of its first route only."""
    # Inside a mounted application the root is that application's.
    scope = {**request.scope, "root_path": request.scope.get("app_root_path", request.scope.get("root_path", ""))}
    methods = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        for route in request.app.routes
        if (method == "GET" or not isinstance(route, Mount))
        and route.matches({**scope, "method": method})[0] is Match.FULL
    }
    return sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))
