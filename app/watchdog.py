"""Ends the children of a process that died: where the kernel does not (see app/tether.py). Run by its path.

It reads "+PID" and "-PID" lines from standard input, and acts at its end, which comes when the writer is gone.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 10.0


def _signal(groups: Iterable[int], number: signal.Signals | int) -> set[int]:
    """Signal process groups; return those that are still there."""
    alive = set()
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
            alive.add(group)
    return alive


def main(lines: Iterable[str]) -> None:
    """Keep the book of who is alive, then end whoever is left: each leads a process group of its own."""
    children: set[int] = set()
    for line in lines:
        if line.startswith("+"):
            children.add(int(line[1:]))
        else:
            children.discard(int(line[1:]))
    alive = _signal(children, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = _signal(alive, 0)
    _signal(alive, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.stdin)
