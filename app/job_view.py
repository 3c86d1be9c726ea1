"""From what Redis knows of a job to what clients see of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rq.job import JobStatus as RqStatus

from app import schemas
from app.errors import ProblemCode, problem_document
from app.job_queue import JobRecord
from app.queue_load import QueueLoad
from app.schemas import JobStatus
from worker.protocol import GenerationResult, ImageRecord

STATUSES: Final = {
    RqStatus.CREATED: JobStatus.QUEUED,
    RqStatus.QUEUED: JobStatus.QUEUED,
    RqStatus.DEFERRED: JobStatus.QUEUED,
    RqStatus.SCHEDULED: JobStatus.QUEUED,
    RqStatus.RATE_LIMITED: JobStatus.QUEUED,
    RqStatus.READY_TO_ENQUEUE: JobStatus.QUEUED,
    RqStatus.STARTED: JobStatus.RUNNING,
    RqStatus.FINISHED: JobStatus.SUCCEEDED,
    RqStatus.FAILED: JobStatus.FAILED,
    RqStatus.STOPPED: JobStatus.CANCELED,
    RqStatus.CANCELED: JobStatus.CANCELED,
}
"""What each of RQ's states is to a client. A running job that is stopped was stopped because it was canceled."""


def image_url(name: str) -> str:
    """The address of an image, by its name in the store."""
    return f"/images/{name}"


def job_view(record: JobRecord, load: QueueLoad) -> schemas.Job:
    """The Job of docs/api.md. `load` tells how long a queued one will take."""
    status = STATUSES[record.status]
    started_at = None if status is JobStatus.QUEUED else record.started_at
    finished_at = record.ended_at if status.is_terminal else None
    return schemas.Job(
        id=record.id,
        status=status,
        created_at=record.created_at,
        started_at=started_at,
        finished_at=finished_at,
        request=schemas.Request.model_validate(record.request.to_kwargs()),
        progress=_progress(record, status),
        queue=_place(record, load) if status is JobStatus.QUEUED else None,
        images=[_image(image) for image in record.result.images] if record.result else [],
        error=_error(record) if status is JobStatus.FAILED else None,
        metrics=schemas.Metrics(
            queued_seconds=_seconds(record.created_at, started_at),
            run_seconds=_run_seconds(record.result, started_at, finished_at),
        ),
    )


def _progress(record: JobRecord, status: JobStatus) -> schemas.Progress:
    total = record.request.image_steps
    if status is JobStatus.SUCCEEDED:
        return schemas.Progress(steps_done=total, steps_total=total, images_done=record.request.count)
    return schemas.Progress(
        steps_done=min(record.progress.steps_done, total),
        steps_total=total,
        images_done=min(record.progress.images_done, record.request.count),
    )


def _place(record: JobRecord, load: QueueLoad) -> schemas.QueuePlace:
    position = record.position or 0  # none: a worker is taking it right now
    return schemas.QueuePlace(position=position + 1, eta_seconds=load.eta_seconds(position, record.request.image_steps))


def _image(image: ImageRecord) -> schemas.Image:
    return schemas.Image(
        seed=image.seed,
        url=image_url(image.name),
        width=image.width,
        height=image.height,
        bytes=image.bytes,
        sha256=image.sha256,
        kind=image.kind or None,
    )


def _error(record: JobRecord) -> schemas.Problem | None:
    if record.failure is None:
        return None
    problem = problem_document(
        record.failure.code, 500, ProblemCode.JOB_FAILED.title, record.failure.detail, f"/jobs/{record.id}"
    )
    return schemas.Problem(**problem)


def _seconds(since: datetime, until: datetime | None) -> float | None:
    return None if until is None else round(max((until - since).total_seconds(), 0.0), 3)


def _run_seconds(
    result: GenerationResult | None, started_at: datetime | None, finished_at: datetime | None
) -> float | None:
    if result is not None:
        return round(result.run_seconds, 3)
    return _seconds(started_at, finished_at) if started_at is not None else None
