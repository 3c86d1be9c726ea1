"""Forks `bouquet train`, so that a run begins with its network and not with the import of TensorFlow.

TensorFlow is imported here and left untouched, as in tests/chaos/nursery.py. A child is a process of its own that can
be killed at any moment; what it does not do is start Python and end it, so test_training.py has one run that does.
"""

from __future__ import annotations

from tests.nursery import serve


def main() -> None:
    """Serves until standard input ends."""
    import model.bundle
    import model.dataset
    import model.run  # noqa: F401
    from app.cli import main as bouquet

    serve(lambda options: bouquet(["train", *options]))


if __name__ == "__main__":
    main()
