"""The examples of the OpenAPI document: one request from its posting to its pictures, told in all its answers."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "01a206a6c5d9eaa976cab8dd7190c68d-20"
_IMAGE: Final = "3f9a0c1b2d4e-7-20.png"
_SHA256: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

QUEUED_JOB: Final[dict[str, Any]] = {
    "id": _ID,
    "status": "queued",
    "created_at": "2026-01-01T12:00:00.000000Z",
    "started_at": None,
    "finished_at": None,
    "request": {"steps": 20, "seed": 7, "count": 1},
    "progress": {"steps_done": 0, "steps_total": 20, "images_done": 0},
    "queue": {"position": 1, "eta_seconds": 0.6},
    "images": [],
    "error": None,
    "metrics": {"queued_seconds": None, "run_seconds": None},
}
ENDED_JOB: Final[dict[str, Any]] = QUEUED_JOB | {
    "status": "succeeded",
    "started_at": "2026-01-01T12:00:00.012000Z",
    "finished_at": "2026-01-01T12:00:00.422000Z",
    "progress": {"steps_done": 20, "steps_total": 20, "images_done": 1},
    "queue": None,
    "images": [
        {
            "seed": 7,
            "url": f"/images/{_IMAGE}",
            "width": 64,
            "height": 64,
            "bytes": 9120,
            "sha256": _SHA256,
            "kind": "canna lily",
        }
    ],
    "metrics": {"queued_seconds": 0.012, "run_seconds": 0.41},
}
CANCELED_JOB: Final[dict[str, Any]] = QUEUED_JOB | {
    "status": "canceled",
    "finished_at": "2026-01-01T12:00:01.000000Z",
    "queue": None,
}
MODEL: Final[dict[str, Any]] = {
    "name": "flowers64",
    "content_hash": "3f9a0c1b2d4e" + 52 * "0",
    "revision": "3f9a0c1b2d4e",
    "image_size": 64,
    "classes": ["canna lily", "sunflower"],
    "training_data": {"name": "oxford_flowers102"},
    "recipe": {"preset": "flowers64"},
    "scores": None,
}

_ANSWERS: Final[dict[tuple[str, str, str], Any]] = {
    ("/generate", "post", "202"): QUEUED_JOB,
    ("/generate", "post", "200"): ENDED_JOB,
    ("/jobs", "get", "200"): {"jobs": [ENDED_JOB], "next_cursor": None},
    ("/jobs/{job_id}", "get", "200"): ENDED_JOB,
    ("/jobs/{job_id}", "delete", "200"): CANCELED_JOB,
    ("/model", "get", "200"): MODEL,
    ("/health/live", "get", "200"): {"status": "live", "workers": None},
    ("/health/ready", "get", "200"): {"status": "ready", "workers": 1},
}
"""By path, method and status; of answers in JSON."""

_PARAMETERS: Final[dict[str, Any]] = {
    "prefer": "wait=10",
    "idempotency-key": "7c1f3f0e-2a52-4d0e-9f57-6a3d1c0b9e84",
    "last-event-id": "running-1767268800000000",
    "job_id": _ID,
    "status": "succeeded",
    "limit": 20,
    "cursor": _ID,
    "name": _IMAGE,
    "seed": 7,
    "toward": 8,
    "steps": 20,
    "sampler": "ddim",
    "after": 12,
    "kind": "sunflower",
    "frames": 16,
}

_BODIES: Final[dict[str, Any]] = {
    "one": {"summary": "One flower, of a seed", "value": {"steps": 20, "seed": 7, "count": 1}},
    "drawn": {"summary": "Whatever the server draws", "value": {}},
    "batch": {"summary": "Sixteen neighbours, as sketches", "value": {"steps": 5, "seed": 100, "count": 16}},
    "kind": {"summary": "Four sunflowers", "value": {"seed": 7, "count": 4, "kind": "sunflower"}},
}


def add_examples(document: dict[str, Any]) -> None:
    """Puts the examples into an OpenAPI document, wherever it has none of its own."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                if (example := _PARAMETERS.get(parameter["name"])) is not None and "example" not in parameter:
                    parameter["example"] = example
            for status, response in operation["responses"].items():
                content = response.get("content", {}).get("application/json")
                if content is not None and (example := _ANSWERS.get((path, method, status))) is not None:
                    content["example"] = example
            if method == "post" and "requestBody" in operation:
                operation["requestBody"]["content"]["application/json"]["examples"] = _BODIES
