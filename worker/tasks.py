"""The function that generation jobs name. Bouquet's own worker never calls it: it reads the job's arguments."""

from __future__ import annotations

from typing import NoReturn


def generate(**_kwargs: object) -> NoReturn:
    """Fails the job, because only a stock RQ worker would ever call this function.

    Raises:
        RuntimeError: always, with what to start instead.
    """
    raise RuntimeError("This job needs Bouquet's own worker. Stop this stock RQ worker and start `bouquet worker`.")
