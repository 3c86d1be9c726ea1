"""Job ids: sortable by time, impossible to guess, and telling how much work the job is.

An id is `<12 hex digits: milliseconds since 1970><20 random hex digits>-<image-steps>`. That the work can be read off
the id lets the queue's load be derived from the queue itself: no counter beside it that could drift when a worker dies.
To clients an id is opaque.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Final

_JOB_ID = re.compile(r"[0-9a-f]{32}-([1-9][0-9]{0,4})", re.ASCII)
JOB_ID_PATTERN: Final = f"^{_JOB_ID.pattern}$"
"""The same for JSON Schema."""

FOREIGN_IMAGE_STEPS: Final = 20
"""What a job is taken to cost that somebody else put into the queue: one image at the default steps."""


def new_job_id(image_steps: int) -> str:
    """A fresh id for a job of `image_steps` (1..64000)."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}-{image_steps}"


def is_job_id(text: str) -> bool:
    """Whether `text` could have come from `new_job_id`."""
    return _JOB_ID.fullmatch(text) is not None


def image_steps_of(job_id: str) -> int:
    """The work of a job, read off its id."""
    match = _JOB_ID.fullmatch(job_id)
    return int(match[1]) if match else FOREIGN_IMAGE_STEPS
