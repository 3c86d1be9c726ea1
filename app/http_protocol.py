"""HTTP/1.1 as uvicorn speaks it, with limits: how large a request's head may be, and how long anything may take.

uvicorn waits for ever for a head that comes byte by byte, for the rest of a body that was refused, and for a client
that does not read its answer. Each of these holds a connection, of which a process has a limited number. Its parser,
llhttp, takes heads of any size, and leaves some of what RFC 9112 asks of a server to the server.
"""

from __future__ import annotations

import asyncio
import http
import secrets
import sys
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.errors import ApiError, ProblemCode, problem_response
from app.file_limit import file_limit
from app.head_limit import MAX_HEAD_BYTES, head_too_large
from app.request_ids import HEADER
from app.security import RAW_RESPONSE_HEADERS

HEAD_SECONDS: Final = 5.0
"""In which a head must have come once it has begun or its connection is open; and the rest of a request that has been
answered already."""

IDLE_SECONDS: Final = 130.0
"""For which a connection may wait for its next request. Longer than those who keep connections wait themselves (nginx
and AWS's balancers 60 s, Go's transport and Traefik 90 s, Caddy 120 s; httpx 5 s): a request that is sent just as the
server closes is lost, and one that is not idempotent is not sent again. In a crowd it is HEAD_SECONDS."""

READ_SECONDS: Final = 30.0
"""For which a client may take nothing of what is waiting for it, if that is more than its connection holds."""

_IDLE_SHARE: Final = 0.5
"""Of the connections that a process may have, how many there have to be for a crowd."""

_CLOSE: Final = {"Connection": "close"}


class MalformedRequestError(Exception):
    """What llhttp lets pass and HTTP/1.1 does not; the message tells what is wrong."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. What cannot be understood is answered as a problem, like everything else."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._untaken = 0
        """Bytes that waited for the client when patience with it began anew."""
        self._head_bytes: int | None = None
        """Of a head that has begun and not ended, what came after the piece in which it began; None without one."""
        self._is_between = False
        """Whether a whole request has come, and nothing of the next."""
        self._is_deaf = False
        """Whether nothing that still comes counts: what came last was no request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        # A head that ends in time, or came in one piece, is measured by app.head_limit.
        if self._head_bytes is not None and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(head_too_large())
        self._watch()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._is_between = False
        self._stop_watching()  # it has all its time, however long it was idle before
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # Those after a body in chunks (trailers) must not pass for headers: nobody asks for them.
        if self._head_bytes is not None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise MalformedRequestError(f"the version is {version}")
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and version == "1.1"):  # RFC 9112, section 3.2
            raise MalformedRequestError("it needs one Host header")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_between = True
        self._stop_watching()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._stop_watching()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # uvicorn's own, which is one for all that may be waited for
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._patience is None:
            self._be_patient()

    def resume_writing(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        super().resume_writing()

    def see_whether_it_reads(self) -> None:
        """Lets a client go that has taken nothing since patience with it began; else that begins anew."""
        if self.transport.get_write_buffer_size() < self._untaken:
            self._be_patient()
        else:
            self.transport.abort()

    def _be_patient(self) -> None:
        self._untaken = self.transport.get_write_buffer_size()
        self._patience = self.loop.call_later(READ_SECONDS, self.see_whether_it_reads)

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn while it handles the error of a request that is no HTTP."""
        error = sys.exc_info()[1]
        if not isinstance(error, httptools.HttpParserCallbackError):
            reason = str(error)
        elif isinstance(error.__context__, MalformedRequestError):
            reason = str(error.__context__)
        else:
            reason = "its address cannot be read"
        self._refuse(ApiError(ProblemCode.BAD_REQUEST, f"This is not HTTP/1.1: {reason}.", headers=_CLOSE))

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
            may_be_idle = self._is_between and len(self.connections) <= _IDLE_SHARE * file_limit()
            seconds = IDLE_SECONDS if may_be_idle else HEAD_SECONDS
            self._deadline = self.loop.call_later(seconds, self._give_up)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        if self._head_bytes is not None:
            detail = f"The request's head did not come within {HEAD_SECONDS:.0f} seconds."
            self._refuse(ApiError(ProblemCode.REQUEST_TIMEOUT, detail, headers=_CLOSE))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answers with a problem, unless an answer has begun, and closes the connection.

        If the fault is in what came after a whole request, that one is answered first, and the fault is not: the
        connection is closed.
        """
        self._is_deaf = True
        can_answer = True
        if self._is_answering:
            if not self.cycle.more_body:
                self.cycle.keep_alive = False
                return
            can_answer = not self.pipeline and not self.cycle.response_started
            self.cycle.disconnected = True  # whoever is at work on this request learns that nobody waits for it
            self.cycle.message_event.set()
        if can_answer:
            self._answer(error)
        self.transport.close()

    def _answer(self, error: ApiError) -> None:
        request_id = secrets.token_hex(16)
        response = problem_response(error, {"path": "/", "state": {"request_id": request_id}})
        status = http.HTTPStatus(response.status_code)
        headers = [
            *response.raw_headers,
            *RAW_RESPONSE_HEADERS,
            (HEADER.encode(), request_id.encode()),
        ]
        head = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
        head += b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(head + b"\r\n" + bytes(response.body))
