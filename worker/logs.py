"""How a worker writes its log: a line of text, or of JSON with the ids that join it to the front end's lines."""

from __future__ import annotations

import logging
import sys
from typing import Final

from pythonjsonlogger.json import JsonFormatter
from rq.job import Job

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_LONGEST_ID: Final = 128


def json_formatter() -> logging.Formatter:
    """An object a line: time (UTC), level, logger, message, and what a call gives as `extra`. As app/logs.py."""
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
    )


def set_up_logging(level: str, log_format: str) -> None:
    """Writes to standard error. Of RQ, which tells each job's life in several lines, only what is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(json_formatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level != "debug":  # its loggers set their levels themselves
        for name in ("rq.worker", "rq.job", "rq.queue", "rq.registry"):
            logging.getLogger(name).setLevel(logging.WARNING)


def about(job: Job) -> dict[str, str]:
    """The ids that a line about a job has, for `extra`: its own, and that of the request that made it."""
    meta: object = job.meta  # whatever somebody wrote into Redis
    request_id = meta.get("request_id") if isinstance(meta, dict) else None
    if isinstance(request_id, str) and len(request_id) <= _LONGEST_ID:
        return {"job_id": job.id, "request_id": request_id}
    return {"job_id": job.id}
