"""Forks production workers, so that a start costs the making of the network and not the import of TensorFlow.

A process in which TensorFlow has run must never fork: its threads would be missing in the child. An import alone starts
none, and `serve` asserts that. This process does nothing after it but fork.
"""

from __future__ import annotations

from tests.nursery import serve


def main() -> None:
    """Serves until standard input ends."""
    import worker.opening  # noqa: F401
    from tests.chaos import breakable_worker

    serve(breakable_worker.main)


if __name__ == "__main__":
    main()
