"""Whether the front end lives, and whether the service as a whole can make a flower."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import redis.exceptions

from app.errors import ApiError, ProblemCode
from app.schemas import Health

if TYPE_CHECKING:
    from app.queue_load import LoadMeter

ANSWER_SECONDS: Final = 2.0
"""Within which Redis has to answer; whoever asks for health does not wait long either."""


def live() -> Health:
    """This process answers; nothing more is claimed."""
    return Health(status="live")


async def ready(meter: LoadMeter) -> Health:
    """Redis answers, and a worker has loaded its bundle, warmed up, and is alive.

    Raises:
        ApiError: `not-ready`, with the reason.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            load = await meter.look(max_age=0)
    except TimeoutError:
        raise _not_ready("redis", f"Redis has not answered within {ANSWER_SECONDS:.0f} seconds.") from None
    except redis.exceptions.RedisError as error:
        raise _not_ready("redis", f"Redis does not answer ({type(error).__name__}).") from None
    if not load.workers:
        raise _not_ready("workers", "No worker is ready: none runs, or none has loaded its bundle and warmed up yet.")
    return Health(status="ready", workers=load.workers)


def _not_ready(part: str, reason: str) -> ApiError:
    return ApiError(ProblemCode.NOT_READY, reason, headers={"Retry-After": "2"}, extra={"missing": part})
