"""A front end that begins with few files, as processes do on many systems."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests import wire
from tests.front_end import FrontEnd
from tests.valkey_server import ValkeyServer

FILES = 128


def test_it_holds_more_connections_than_it_began_with(valkey: ValkeyServer, tmp_path: Path) -> None:
    """Many at once, all of which stay."""
    with (
        FrontEnd(tmp_path / "front", valkey.url, tmp_path / "images", open_files=FILES) as front_end,
        contextlib.ExitStack() as stack,
    ):
        url = str(front_end.api.base_url)
        connections = [stack.enter_context(wire.connect(url)) for _ in range(2 * FILES)]
        for connection in connections:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        for connection in connections:
            assert wire.read_response(connection).status_code == 200
