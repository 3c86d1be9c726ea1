"""How many files this process may have open at once; each connection is one."""

from __future__ import annotations

import resource
import sys
from typing import Final

_WANTED: Final = (65536, 10240)
"""The first that the system grants; the second is macOS's own limit, where it says that there is none."""


def file_limit() -> int:
    """The number of files that may be open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> None:
    """Raises it as far as the system lets this process, to 65536 at most; many begin with 1024, or 256, of far more.

    That is kept low for programs that call `select`, which knows no file beyond 1024. Nobody does here.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in _WANTED:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if limit <= file_limit():
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (OSError, ValueError):
            continue
        return
