"""A job's life as those see it who watch: moments, one for each change of its status, and the way from one to another.

A moment is a status and the run that it belongs to (when the job was started; once its worker has died it is started
again). It is what a `Last-Event-ID` says: what the reader has seen last. From that and from the job as it is now follow
the moments between, so nothing has to be kept for readers that may come back, and any front end can go on for another.
"""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from app.job_queue import JobRecord
from app.job_view import STATUSES
from app.schemas import Job, JobStatus, Progress

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DONE: Final = "-done"
_EVENT_ID: Final = re.compile(rf"({'|'.join(JobStatus)})-(0|[1-9][0-9]{{0,16}})({_DONE})?", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A status of a job. `run` is when it was started last, in microseconds since 1970; 0 if it never was."""

    status: JobStatus
    run: int

    @classmethod
    def of(cls, record: JobRecord) -> Moment:
        """The present."""
        run = (record.started_at - _EPOCH) // _MICROSECOND if record.started_at is not None else 0
        return cls(STATUSES[record.status], run)

    @property
    def event_id(self) -> str:
        """The id of the `status` event."""
        return f"{self.status}-{self.run}"

    @property
    def done_id(self) -> str:
        """The id of the `done` event that follows on a last status."""
        return self.event_id + _DONE


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What a reader says in `Last-Event-ID`: the last moment it has seen, and whether `done` came after it."""

    moment: Moment
    done: bool


def read_event_id(text: str | None) -> Seen | None:
    """The inverse of `event_id` and `done_id`; None for anything else, which then is as if nothing had been seen."""
    if text is None or (match := _EVENT_ID.fullmatch(text)) is None:
        return None
    return Seen(Moment(JobStatus(match[1]), int(match[2])), done=match[3] is not None)


def moments_between(seen: Moment | None, now: Moment) -> list[Moment]:
    """The moments after `seen`, the present one included, in order; nothing if that has been seen.

    Who has seen nothing is shown the present alone. A job that went back to the queue several times meanwhile is shown
    to have done so once.
    """
    if seen == now:
        return []
    if seen is None or seen.status.is_terminal:
        return [now]
    moments = []
    if now.run not in (0, seen.run):
        if seen.status is JobStatus.RUNNING:
            moments.append(Moment(JobStatus.QUEUED, seen.run))
        moments.append(Moment(JobStatus.RUNNING, now.run))
    if now not in moments:
        moments.append(now)
    return moments


def job_at(moment: Moment, job: Job) -> Job:
    """What `job` was like at a moment that has passed: queued, or at the beginning of a run."""
    started_at = _EPOCH + moment.run * _MICROSECOND if moment.status is JobStatus.RUNNING else None
    return job.model_copy(
        update={
            "status": moment.status,
            "started_at": started_at,
            "finished_at": None,
            "progress": Progress(steps_done=0, steps_total=job.progress.steps_total, images_done=0),
            "queue": None,
            "images": [],
            "error": None,
            "metrics": job.metrics.model_copy(update={"run_seconds": None}),
        }
    )
