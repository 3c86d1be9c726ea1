"""A proxy in front of an HTTP server that fails a share of the calls, each in one of the ways in which stores do."""

from __future__ import annotations

import collections
import enum
import http.client
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Fault(enum.Enum):
    """How a call fails. In the two last ones it has been carried out, and only the client does not know."""

    HUNG_UP = "the connection ends before anything was done"
    UNAVAILABLE = "503 Slow Down, and nothing was done"
    BROKEN = "500 Internal Error, and nothing was done"
    FORGOTTEN = "it is done, and the connection ends without an answer"
    CUT_OFF = "it is done, and the answer breaks off in its middle"


_XML = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{}</Code><Message>on purpose</Message></Error>'
_ERRORS = {Fault.UNAVAILABLE: (503, "SlowDown"), Fault.BROKEN: (500, "InternalError")}


class FaultyProxy:
    """Runs from the start to `close`. `share` (0 to 1) and `down` may be changed while it runs."""

    def __init__(self, upstream: tuple[str, int], share: float = 0.0, seed: int = 1) -> None:
        self.share = share
        self.down = False
        self.calls = 0
        self.struck: collections.Counter[Fault] = collections.Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client has gone
                    self.close_connection = True

            def pass_on(self) -> None:
                proxy._pass_on(self, upstream)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _draw(self) -> Fault | None:
        with self._lock:
            self.calls += 1
            if self.down:
                return Fault.HUNG_UP
            if self._random.random() >= self.share:
                return None
            fault = self._random.choice(list(Fault))
            self.struck[fault] += 1
            return fault

    def _pass_on(self, handler: BaseHTTPRequestHandler, upstream: tuple[str, int]) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        fault = self._draw()
        if fault is Fault.HUNG_UP:
            handler.close_connection = True
            return
        if fault in _ERRORS:
            status, code = _ERRORS[fault]
            self._answer(handler, status, {}, _XML.format(code).encode())
            return
        connection = http.client.HTTPConnection(*upstream, timeout=30)
        headers = {
            name: value for name, value in handler.headers.items() if name.lower() not in ("expect", "connection")
        }
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault is Fault.FORGOTTEN:
            handler.close_connection = True
            return
        kept = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in ("content-length", "connection", "transfer-encoding", "server", "date")
        }
        size = int(answer.headers.get("Content-Length", 0)) if handler.command == "HEAD" else len(data)
        self._answer(handler, answer.status, kept, data, size, cut_off=fault is Fault.CUT_OFF)

    def _answer(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        data: bytes,
        size: int | None = None,
        *,
        cut_off: bool = False,
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data) if size is None else size))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(data[: len(data) // 2] if cut_off else data)
        if cut_off:
            handler.close_connection = True
