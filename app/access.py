"""One count for each request when its answer begins, and one line in the log when it ends.

Health and metrics are only counted.
"""

from __future__ import annotations

import logging
import time
from typing import Final
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.metrics import FrontEndMetrics

log = logging.getLogger("bouquet.access")

_QUIET: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
_STATIC: Final = "/static"
_CLIENT_GONE: Final = 499
"""What a request counts as whose client was gone before there was an answer (as nginx has it)."""


class Access:
    """ASGI middleware. It has to be inside of RequestIds, and outside of all that answers.

    Handlers may leave in the scope's state: `job_id` (of the job that was made), `held` (that the request asked to
    wait, so that its time says nothing), `problem` (the code of the error that is answered).
    """

    def __init__(self, app: ASGIApp, metrics: FrontEndMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status: int | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Before it is sent: what a client has seen answered is counted, though this process be killed next.
                self._count(scope, status, time.perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            if status is None:
                status = _CLIENT_GONE
                self._count(scope, status, None)
            _log(scope, status, time.perf_counter() - began)

    def _count(self, scope: Scope, status: int, until_answer: float | None) -> None:
        state = scope.get("state", {})
        seconds = None if "held" in state else until_answer
        self._metrics.answered(_template(scope), scope["method"], status, seconds, state.get("problem"))


def _log(scope: Scope, status: int, until_end: float) -> None:
    state, route = scope.get("state", {}), _template(scope)
    if route in _QUIET or not log.isEnabledFor(logging.INFO):
        return
    # Without the query, in which somebody may have put a key; and quoted, so that one request is one line.
    path = quote(scope["path"], safe="/:@!$&'()*+,;=~-._")
    fields = {
        "method": scope["method"],
        "path": path,
        "route": route,
        "status": status,
        "seconds": round(until_end, 6),
        "client": (scope.get("client") or ("-",))[0],
        "request_id": state.get("request_id"),
        "job_id": state.get("job_id", scope.get("path_params", {}).get("job_id")),
        "code": state.get("problem"),
    }
    log.info(
        '%s "%s %s" %d in %.1f ms',
        fields["client"],
        scope["method"],
        path,
        status,
        1000 * until_end,
        extra={name: value for name, value in fields.items() if value is not None},
    )


def _template(scope: Scope) -> str:
    """The route's template: as many labels as there are routes, whatever is asked for."""
    template = getattr(scope.get("route"), "path", None)
    if isinstance(template, str) and template:
        return template
    return _STATIC if scope["path"].startswith(f"{_STATIC}/") else "other"
