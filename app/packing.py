"""Commands to Redis packed by hiredis, as redis-py's blocking connections do; its asyncio ones do it in Python.

A job is a dozen short fields, so that packing them took a tenth of what a `POST` costs the front end.
"""

from __future__ import annotations

from redis.asyncio.connection import AbstractConnection
from redis.connection import HiredisRespSerializer
from redis.typing import EncodableT

_serializer = HiredisRespSerializer()


class _Packing(AbstractConnection):
    def pack_command(self, *args: EncodableT) -> list[bytes]:
        packed: list[bytes] = _serializer.pack(*args)  # type: ignore[arg-type]
        return packed


def packing(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """A kind of connection (TCP, TLS, Unix socket) whose commands are packed by hiredis; what goes out is the same."""
    return type(f"Packing{connection_class.__name__}", (_Packing, connection_class), {})
