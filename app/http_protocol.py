"""HTTP/1.1 as uvicorn speaks it, with limits: how large a request's head may be, and how long anything may take.

uvicorn waits for ever for a head that comes byte by byte, for the rest of a body that was refused, and for a client
that does not read its answer. Each of these holds a connection, of which a process has a limited number.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from app.errors import ApiError, ProblemCode, problem_response
from app.head_limit import head_too_large
from app.request_ids import HEADER
from app.security import RESPONSE_HEADERS

HEAD_SECONDS: Final = 5.0
"""In which a head must have come once its connection is open or its predecessor answered; and the rest of a request
that has been answered already."""

READ_SECONDS: Final = 30.0
"""For which a client may take nothing of what is waiting for it, if that is more than its connection holds."""

_CLOSE: Final = {"Connection": "close"}


class GuardedProtocol(H11Protocol):
    """One connection. What cannot be understood is answered as a problem, like everything else."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self.resume_writing()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        self._stop_watching()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._patience is None:
            self._patience = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn while it handles the error of a request that is no HTTP."""
        error = sys.exc_info()[1]
        if isinstance(error, h11.RemoteProtocolError) and error.error_status_hint == 431:
            self._refuse(head_too_large())
        else:
            self._refuse(ApiError(ProblemCode.BAD_REQUEST, f"This is not HTTP/1.1: {error}.", headers=_CLOSE))

    @property
    def _is_answering(self) -> bool:
        # There is none before the first request, whatever uvicorn's annotation says.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _watch(self) -> None:
        """Sets the deadline when there is something to wait for, and lifts it while a request is being answered."""
        if self._is_answering or self.transport.is_closing():
            self._stop_watching()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            detail = f"The request's head did not come within {HEAD_SECONDS:.0f} seconds."
            self._refuse(ApiError(ProblemCode.REQUEST_TIMEOUT, detail, headers=_CLOSE))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answers with a problem, unless an answer has begun, and closes the connection."""
        can_answer = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        if self._is_answering:
            can_answer = can_answer and not self.cycle.response_started
            self.cycle.disconnected = True  # whoever is at work on this request learns that nobody waits for it
            self.cycle.message_event.set()
        if can_answer:
            self._answer(error)
        self.transport.close()

    def _answer(self, error: ApiError) -> None:
        request_id = secrets.token_hex(16)
        response = problem_response(error, {"path": "/", "state": {"request_id": request_id}})
        headers = [
            *response.raw_headers,
            *((name.encode(), value.encode()) for name, value in RESPONSE_HEADERS.items()),
            (HEADER.encode(), request_id.encode()),
        ]
        for event in (
            h11.Response(status_code=response.status_code, headers=headers),
            h11.Data(data=bytes(response.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
