"""Forks production workers, so that a start costs the making of the network and not the import of TensorFlow.

A process in which TensorFlow has run must never fork: its threads would be missing in the child. An import alone starts
none, and that is asserted. This process does nothing after it but fork.
"""

from __future__ import annotations

from pathlib import Path

from tests.nursery import serve


def main() -> None:
    """Serves until standard input ends."""
    import worker.opening  # noqa: F401
    from tests.chaos import breakable_worker

    tasks = Path("/proc/self/task")  # of Linux; elsewhere a run starts its workers afresh
    assert len(list(tasks.iterdir())) == 1, "there are threads that a fork would lose"
    serve(breakable_worker.main)


if __name__ == "__main__":
    main()
