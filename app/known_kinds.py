"""Which kinds of flowers can be asked for: those that the bundle which is served knows."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, cast

from app.errors import ApiError, FieldError, ProblemCode
from worker.protocol import MODEL_KEY

if TYPE_CHECKING:
    import redis.asyncio

    from app.queue_load import LoadMeter

    AsyncRedis = redis.asyncio.Redis


class KnownKinds:
    """The kinds of the bundle that is served, read anew when another one is."""

    def __init__(self, connection: AsyncRedis, meter: LoadMeter) -> None:
        self._redis = connection
        self._meter = meter
        self._revision: str | None = None
        self._kinds: tuple[str, ...] = ()

    async def check(self, kind: str | None) -> None:
        """Raises ApiError `invalid-request` if that is a kind which the bundle does not know; None is every bundle's.

        As long as no worker has told what it serves, nobody can say: it is then the worker that refuses the job.
        """
        if kind is None or await self.may_know(kind):
            return
        complaint = FieldError("kind", _words(kind, self._kinds))
        raise ApiError(ProblemCode.INVALID_REQUEST, f"{complaint.field}: {complaint.message}.", errors=[complaint])

    async def may_know(self, kind: str) -> bool:
        """Whether the bundle knows a kind; also while nobody can say."""
        kinds = await self._known()
        return kinds is None or kind in kinds

    async def _known(self) -> tuple[str, ...] | None:
        load = await self._meter.look()
        if load.revision is None:
            return None
        if load.revision != self._revision:
            description = cast("bytes | None", await self._redis.get(MODEL_KEY))
            model = json.loads(description) if description is not None else {}
            if model.get("revision") != load.revision:
                return None  # the one that is served is being replaced in this moment
            self._kinds, self._revision = tuple(model.get("classes", ())), load.revision
        return self._kinds


def _words(kind: str, kinds: tuple[str, ...]) -> str:
    if not kinds:
        return "the bundle that is served knows no kinds of flowers; leave it out"
    if near := difflib.get_close_matches(kind, kinds, n=1):
        return f"is not known to the bundle that is served; did you mean {near[0]!r}? GET /model lists all"
    return "is not known to the bundle that is served; GET /model lists those that are"
