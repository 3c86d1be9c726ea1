"""Children that do not outlive their parent, even when it is killed with no chance to say goodbye."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from app import watchdog

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Tether:
    """Ties children to this process: when it dies, by SIGKILL too, they are sent a signal.

    On Linux the kernel does it (prctl PR_SET_PDEATHSIG). Elsewhere a watchdog process holds one end of a pipe whose
    other end only this process has, and acts once that pipe breaks.

    Invariant: start children from the main thread. The kernel's signal comes when the *thread* that forked ends.
    """

    def __init__(self, *, by_kernel: bool = sys.platform == "linux") -> None:
        self._libc = ctypes.CDLL(None, use_errno=True) if by_kernel else None
        self._watchdog: subprocess.Popen[bytes] | None = None
        if not by_kernel:
            # A session of its own, so that what is sent to our process group does not reach it.
            self._watchdog = subprocess.Popen(
                [sys.executable, "-I", "-S", watchdog.__file__], stdin=subprocess.PIPE, start_new_session=True
            )

    def in_child(self, when_parent_dies: signal.Signals) -> Callable[[], None]:
        """Return a `preexec_fn` that ties the child.

        Args:
            when_parent_dies: what the kernel then sends. The watchdog always sends SIGTERM, and SIGKILL after a while.
        """
        parent, libc = os.getpid(), self._libc
        pipe = self._watchdog.stdin if self._watchdog is not None else None

        def tie() -> None:
            if libc is not None:
                libc.prctl(_PR_SET_PDEATHSIG, int(when_parent_dies), 0, 0, 0)
                if os.getppid() != parent:  # It died before the kernel was told: nobody would tell us any more.
                    os._exit(1)
            elif pipe is not None:
                os.write(pipe.fileno(), b"+%d\n" % os.getpid())

        return tie

    def release(self, process_id: int) -> None:
        """Forget a child that has ended, since its number may be given to a stranger."""
        if self._watchdog is not None and self._watchdog.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._watchdog.stdin.fileno(), b"-%d\n" % process_id)

    def close(self) -> None:
        """Let the watchdog go; what is still tied to it then is ended."""
        if self._watchdog is not None:
            self._watchdog.communicate()
