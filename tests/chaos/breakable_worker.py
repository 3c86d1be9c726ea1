"""A production worker that kills itself at a chosen point of its work, once a file orders it to.

A SIGKILL from outside strikes where a worker spends its time: in ticks. The dangerous moments last microseconds, and a
run of any length would miss most of them. All else in the worker is what production runs.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

ORDERS_VARIABLE: Final = "CHAOS_ORDERS"
"""Names the file that a worker looks at; what is in it is one of POINTS."""

POINTS: Final = {
    "taken": "jobs are in the intermediate list, unread",
    "unstarted": "jobs are in the intermediate list, read, before their start",
    "started": "jobs have just been started",
    "half-written": "an image is written into the store, not yet in its place",
    "stored": "an image has just been stored",
    "unbooked": "jobs are done, before their finish",
    "booked": "jobs have just been finished",
    "giving-back": "stopping, before jobs are given back",
    "maintenance": "holding the maintenance lock",
}

_Function = Callable[..., Any]


def main(arguments: Sequence[str]) -> int:
    """Runs a worker; takes the options of `python -m worker`."""
    from worker.__main__ import main as run_worker

    install(Path(os.environ[ORDERS_VARIABLE]))
    return run_worker(arguments)


def install(order: Path) -> None:
    """Puts the points into the worker's functions."""
    from worker import directory_store, generation_queue, rq_internals

    def reach(point: str) -> None:
        try:
            ordered = order.read_text()
        except FileNotFoundError:
            return
        if ordered == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(owner: Any, name: str, point: str, argument: int | None = None) -> None:
        """At a call; with `argument`, only if that argument is not empty."""
        original: _Function = getattr(owner, name)

        @functools.wraps(original)
        def breaking(*arguments: Any, **options: Any) -> Any:
            if argument is None or arguments[argument]:
                reach(point)
            return original(*arguments, **options)

        setattr(owner, name, breaking)

    def after(owner: Any, name: str, point: str, *, any_result: bool = False) -> None:
        """At a return; unless `any_result`, only if what is returned is not empty."""
        original: _Function = getattr(owner, name)

        @functools.wraps(original)
        def breaking(*arguments: Any, **options: Any) -> Any:
            result = original(*arguments, **options)
            if any_result or result:
                reach(point)
            return result

        setattr(owner, name, breaking)

    before(rq_internals, "fetch_taken", "taken")
    after(rq_internals, "take", "taken")
    before(rq_internals, "start", "unstarted", argument=2)
    after(rq_internals, "start", "started")
    before(os, "fsync", "half-written")
    after(directory_store.DirectoryStore, "put", "stored", any_result=True)
    before(rq_internals, "finish", "unbooked", argument=1)
    after(rq_internals, "finish", "booked", any_result=True)
    before(rq_internals, "give_back", "giving-back", argument=1)
    after(generation_queue.GenerationQueue, "acquire_maintenance_lock", "maintenance")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
