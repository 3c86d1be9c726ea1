"""HTTP by bare sockets: clients that do next to nothing, since they share the machine with what they measure."""

from __future__ import annotations

import asyncio
import dataclasses
from types import TracebackType
from typing import Self


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers in lower case, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection, kept open; one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()

    async def post(self, body: bytes, key: str | None = None) -> Answer:
        """POST /generate, with an Idempotency-Key if there is to be one."""
        head = b"POST /generate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        if key is not None:
            head += f"Idempotency-Key: {key}\r\n".encode()
        return await self._ask(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def get(self, path: str) -> Answer:
        """GET of a path."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    async def watch(self, job_id: str) -> asyncio.StreamReader:
        """Begins to read a job's events; gives what comes after the head of the answer.

        Raises:
            RuntimeError: the answer is no stream.
        """
        self._writer.write(f"GET /jobs/{job_id}/events HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        status, _ = await self._head()
        if status != 200:
            raise RuntimeError(f"the events of {job_id} are answered with {status}")
        return self._reader

    async def _ask(self, request: bytes) -> Answer:
        self._writer.write(request)
        status, headers = await self._head()
        return Answer(status, headers, await self._reader.readexactly(int(headers.get("content-length", "0"))))

    async def _head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(": ") for line in lines if line)
        return int(first.split()[1]), {name.lower(): value for name, _, value in fields}
