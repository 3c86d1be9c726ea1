"""Waiting for other processes in tests: poll with a deadline, never sleep and hope."""

import os
import time
from collections.abc import Callable


def poll(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Return once `condition()` holds; fail the test, saying `what` was awaited, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.01)


def group_is_gone(leader: int) -> bool:
    """Whether no process is left in the group that `leader` led; one that ended but is not reaped is still there."""
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return True
    return False
