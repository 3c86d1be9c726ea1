"""The OpenAPI document: what pydantic knows of the shapes, and what only we know of errors, bodies and pictures."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import schemas
from app.errors import MEDIA_TYPE, ProblemCode
from app.examples import add_examples

DESCRIPTION: Final = """
Flowers out of noise. An image is a pure function of bundle, seed, steps and sampler: ask for the same again and you get
the same bytes again, alone or as one of a batch.

Every error is `application/problem+json` (RFC 9457) with a stable `code`.
"""

_REFERENCE: Final = "#/components/schemas/{model}"

PICTURE: Final[dict[str, Any]] = {"image/png": {"schema": {"type": "string", "format": "binary"}}}

ANIMATION: Final[dict[str, Any]] = {"image/webp": {"schema": {"type": "string", "format": "binary"}}}

EVENTS: Final[dict[str, Any]] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One event of the stream. `data` is JSON in one line.",
            "required": ["event", "data"],
            "properties": {
                "event": {"type": "string", "enum": ["status", "progress", "preview", "done"]},
                "data": {"type": "string", "contentMediaType": "application/json"},
                "id": {"type": "string", "description": "Of `status` and `done`: what `Last-Event-ID` names."},
            },
        },
        "examples": {
            "finished": {
                "summary": "A job of one image, watched from the queue to its end",
                "value": (
                    "retry: 1000\n\n"
                    'id: queued-0\nevent: status\ndata: {"id":"019a...-20","status":"queued","queue":'
                    '{"position":1,"eta_seconds":0.6}}\n\n'
                    'id: running-1767268800000000\nevent: status\ndata: {"id":"019a...-20","status":"running"}\n\n'
                    'event: progress\ndata: {"steps_done":12,"steps_total":20,"images_done":0,"queue":null}\n\n'
                    'event: preview\ndata: {"seed":7,"steps_done":12,"steps":20,"png":"iVBORw0KGgo..."}\n\n'
                    'id: succeeded-1767268800000000\nevent: status\ndata: {"id":"019a...-20","status":"succeeded",'
                    '"images":[{"seed":7,"url":"/images/3f9a0c1b2d4e-7-20.png"}]}\n\n'
                    'id: succeeded-1767268800000000-done\nevent: done\ndata: {"id":"019a...-20",'
                    '"status":"succeeded"}\n\n'
                ),
            }
        },
    }
}

METRICS: Final[dict[str, Any]] = {
    "text/plain": {
        "schema": {"type": "string"},
        "example": (
            "# HELP bouquet_queue_jobs Jobs that wait in the queue.\n# TYPE bouquet_queue_jobs gauge\n"
            "bouquet_queue_jobs 3.0\n"
        ),
    },
    "application/openmetrics-text": {"schema": {"type": "string"}},
}

_ETAG: Final = {"ETag": {"description": "SHA-256 of the bytes.", "schema": {"type": "string"}}}
_CACHING: Final = {"Cache-Control": {"schema": {"type": "string"}}}
PICTURE_HEADERS: Final[dict[str, Any]] = _ETAG | _CACHING

NOT_MODIFIED: Final[dict[str, Any]] = {
    "description": "The client has this picture already.",
    "headers": PICTURE_HEADERS,
}

LOCATION: Final[dict[str, Any]] = {
    "Location": {"description": "Address of the job.", "schema": {"type": "string"}, "example": "/jobs/019a...-20"}
}

ALWAYS: Final = (ProblemCode.UNAUTHORIZED, ProblemCode.INTERNAL_ERROR, ProblemCode.QUEUE_UNAVAILABLE)
"""What any route that touches jobs may answer."""


def problems(*codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({code.status for code in codes}):
        same = [code for code in codes if code.status == status]
        responses[status] = {
            "description": " Or: ".join(f"{code.title} (`{code.code}`)." for code in same),
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": _REFERENCE.format(model="Problem")},
                    "examples": {code.code: {"value": _example(code)} for code in same},
                }
            },
        }
        if any(code in _RETRIED for code in same):
            responses[status]["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            }
    return responses


_RETRIED: Final = {
    ProblemCode.QUEUE_FULL,
    ProblemCode.FLOWER_PENDING,
    ProblemCode.NOT_READY,
    ProblemCode.QUEUE_UNAVAILABLE,
    ProblemCode.STORE_UNAVAILABLE,
}


def json_body(model: str) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads its body itself."""
    content = {"application/json": {"schema": {"$ref": _REFERENCE.format(model=model)}}}
    return {"requestBody": {"required": True, "content": content}}


def headers(**described: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads these headers itself: a JSON schema of each, by its name with `_`.

    For where requests come by the thousand: FastAPI takes longer over two headers than the reading of a body does.
    """
    parameters = [
        {
            "name": name.replace("_", "-"),
            "in": "header",
            "required": False,
            "schema": {"type": "string", **schema},
            "description": schema["description"],
        }
        for name, schema in described.items()
    ]
    return {"parameters": parameters}


def install(app: FastAPI, *, with_keys: bool) -> None:
    """Gives `app` its OpenAPI document, made at the first request for it."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, with_keys=with_keys)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, *, with_keys: bool) -> dict[str, Any]:
    document: dict[str, Any] = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=DESCRIPTION, routes=app.routes
    )
    components = document["components"]
    # FastAPI promises validation errors of its own wherever a route says nothing of 422: none is ever sent.
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    for model in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(model, None)
    # Not found by FastAPI, since no route declares them: bodies are read by app.bodies, errors
    # made by app.errors, and events are no JSON.
    for shape in (schemas.GenerateBody, schemas.Problem, schemas.WatchedProgress, schemas.PreviewImage):
        components["schemas"][shape.__name__] = shape.model_json_schema(ref_template=_REFERENCE)
        components["schemas"] |= components["schemas"][shape.__name__].pop("$defs", {})
    components["schemas"]["Problem"]["properties"]["code"]["x-codes"] = {
        code.code: {"status": code.status, "title": code.title} for code in ProblemCode
    }
    add_examples(document)
    if with_keys:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _example(code: ProblemCode) -> dict[str, Any]:
    return {
        "type": f"/docs#{code.code}",
        "title": code.title,
        "status": code.status,
        "detail": f"{code.title}.",
        "code": code.code,
        "instance": "/...",
    }
