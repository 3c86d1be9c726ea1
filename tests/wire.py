"""Requests byte by byte, as no client library would send them."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import httpx


def connect(service: str, seconds: float = 30.0) -> socket.socket:
    """An open connection to the service."""
    address = urlsplit(service)
    return socket.create_connection((address.hostname, address.port), timeout=seconds)


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    data = bytearray()
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:  # closed with unread bytes of ours in its buffer
        pass
    return bytes(data)


def read_answer(connection: socket.socket) -> httpx.Response:
    """The answer to a request, after which the server closes the connection."""
    return parse(read_to_end(connection))


def read_response(connection: socket.socket) -> httpx.Response:
    """One answer with a Content-Length, on a connection that stays open."""
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < int(parse(data).headers["content-length"]):
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return parse(data)


def parse(answer: bytes) -> httpx.Response:
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    headers = [tuple(field.split(b": ", 1)) for field in fields]
    return httpx.Response(int(line.split()[1]), headers=headers, content=body)  # type: ignore[arg-type]


def ask(service: str, request: bytes) -> httpx.Response:
    """The answer to these bytes. The request should ask for the connection to be closed."""
    with connect(service) as connection:
        connection.sendall(request)
        return read_answer(connection)


def get(service: str, target: str, *headers: str) -> httpx.Response:
    """The answer to a GET of exactly this target with exactly these header lines."""
    lines = [f"GET {target} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return ask(service, "\r\n".join([*lines, "", ""]).encode("latin-1"))
