"""The socket that the API listens on, opened before anything else starts, so that a taken port is a clear error.

`bouquet serve` opens it and hands it to the API process: while that one is started again, clients wait in the socket's
backlog and are not refused.
"""

import contextlib
import errno
import socket
import sys

from app.command_error import CommandError


class ListenError(CommandError):
    """The address cannot be listened on; the text says why and what to do next."""


def open_listener(host: str, port: int) -> socket.socket:
    """Listen on the first address of `host`; port 0 takes a free one.

    Raises:
        ListenError: the name is unknown, or the port is taken or not allowed.
    """
    return _listen(host, port, among_others=False)


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Listen `count` times on one port, a process each; where the system can, it deals the connections out evenly.

    All processes can also share one socket, as they do where it cannot. But then whoever wakes up first takes what is
    there, and of a crowd that comes at once one process may get everybody.

    Raises:
        ListenError: as `open_listener`.
    """
    # Alone at first: sockets that may share a port share it with those of another Bouquet too, where it must be taken.
    alone = open_listener(host, port)
    if count == 1 or sys.platform != "linux":
        return [alone] * count
    taken = alone.getsockname()[1]
    alone.close()
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(_listen(host, taken, among_others=True)) for _ in range(count)]
        stack.pop_all()
    return listeners


def _listen(host: str, port: int, *, among_others: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise ListenError(
            f"--host {host}: {error.strerror}. Name an address of this machine, say 127.0.0.1."
        ) from error
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if among_others:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind(address)
        # At once: two sockets may be bound to one port while neither listens.
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ListenError(
                f"Port {port} of {host} is in use by another program. Choose another with --port (0 takes a free one), "
                "or set BOUQUET_PORT."
            ) from error
        raise ListenError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Choose others with --host and --port."
        ) from error
    return listener


def local_address(listener: socket.socket) -> tuple[str, int]:
    """Return host and port at which this machine reaches a listener."""
    host, port = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104 (translated, not bound)


def local_url(listener: socket.socket) -> str:
    """Return the URL at which this machine reaches a listener."""
    host, port = local_address(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
