"""Figures that several processes of the API on one port count together, since a scrape reaches any one of them.

Each writes its own to files in one folder, and whoever is asked adds them up: what `prometheus_client` calls its
multiprocess mode. What a process counted stays there when it ends, so that no counter goes back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""By which `prometheus_client` is told, when it is imported."""


def count_together(folder: Path) -> None:
    """Has this process count in `folder`. To be called before `prometheus_client` is imported."""
    os.environ[_VARIABLE] = str(folder)


def forget_present_state(folder: Path, process_id: int) -> None:
    """Takes away what is true of a process only as long as it lives, after its end."""
    from prometheus_client.multiprocess import mark_process_dead  # here, since one process alone has no use for it

    mark_process_dead(process_id, str(folder))  # type: ignore[no-untyped-call]
