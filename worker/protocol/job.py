"""A request on its way through RQ's queue: what it is called there, how long it may run, how often it is run again."""

from __future__ import annotations

import math
from typing import Any, Final

from worker.protocol.request import GenerationRequest

QUEUE_NAME: Final = "bouquet"
"""The RQ queue of all generation jobs. One queue a worker: with two, RQ dequeues without its intermediate list."""

JOB_FUNCTION: Final = "worker.tasks.generate"
"""The one dotted name a job may carry. Workers refuse every other."""

RETRIES: Final = 5
"""How often a job is run again after its worker died. A job that kills its process spends a retry of each mate, too;
once two workers have died under a job it is therefore run alone."""

RESULT_TTL: Final = 24 * 3600
"""Seconds for which a finished job can be asked for. Its images stay in the store."""

FAILURE_TTL: Final = 7 * 24 * 3600
"""Seconds for which a failed job, and its reason, can be asked for."""


def job_timeout(request: GenerationRequest) -> int:
    """How long a job may take in a worker, in seconds, not counting the time in which it waits there for a slot.

    Five minutes and half a second an image-step: some thirty times what two CPU cores need, so it strikes only at
    what is stuck or hopelessly slow.
    """
    return 300 + math.ceil(0.5 * request.image_steps)


def enqueue_options(request: GenerationRequest) -> dict[str, Any]:
    """The options every job is enqueued with, for `rq.Queue(QUEUE_NAME, serializer=JSONSerializer).enqueue`:

        queue.enqueue(JOB_FUNCTION, kwargs=request.to_kwargs(), **enqueue_options(request))

    No time to live while queued: nothing accepted is ever dropped. Retries come at once, since an interval would need
    RQ's scheduler process, and at the front, since the job has waited its turn. RQ is imported here and not above, so
    that this file reads without it.
    """
    from rq import Retry

    return {
        "description": "generate " + " ".join(f"{name}={value}" for name, value in request.to_kwargs().items()),
        "job_timeout": job_timeout(request),
        "result_ttl": RESULT_TTL,
        "failure_ttl": FAILURE_TTL,
        "ttl": None,
        "retry": Retry(max=RETRIES, enqueue_at_front=True),
    }
