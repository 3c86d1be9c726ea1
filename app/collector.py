"""Python's garbage collector, set up for a process that answers requests for months."""

import gc
from typing import Final

THRESHOLDS: Final = (20_000, 20, 20)
"""Containers that are made before a collection, and collections before one of the next generation. By Python's own
thresholds, made for small programs, hundreds of requests a second would pay for one each few milliseconds."""


def spare_what_is_loaded() -> None:
    """To be called once all is loaded, which then lives for ever: no collection looks at it again.

    Without this each full collection goes through all the libraries while requests wait. See docs/performance.md.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
