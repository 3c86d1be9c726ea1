"""How the front end writes its log: a line of text, or of JSON with the ids that join it to the workers' lines."""

from __future__ import annotations

import logging
import sys
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from app.request_ids import current_request_id

_TEXT: Final = "%(levelname)s %(name)s: %(message)s"


class RequestIdFilter(logging.Filter):
    """Adds the id of the request that is being answered to what is logged meanwhile."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not hasattr(record, "request_id") and (request_id := current_request_id.get()) is not None:
            record.request_id = request_id
        return True


def json_formatter() -> logging.Formatter:
    """An object a line: time (UTC), level, logger, message, and what a call gives as `extra`. As worker/logs.py."""
    return JsonFormatter(
        ["levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
    )


def set_up_logging(level: str, log_format: str) -> None:
    """One line a request and a message; neither for each probe of health nor for uvicorn's own coming and going."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(json_formatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level == "info":
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
