"""What a benchmark prints: Markdown, ready for docs/performance.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime


def heading(title: str) -> None:
    """A section's title, with the date and the kind of machine that its figures hold for."""
    print(f"\n### {title}\n\n{datetime.now(UTC):%Y-%m-%d}, {machine()}\n", flush=True)


def plain_heading(title: str) -> None:
    """A section's title, of figures that hold for no machine in particular."""
    print(f"\n### {title}\n", flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table; floats with three digits that count."""

    def shown(value: object) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(shown(value) for value in row)} |")
    print(flush=True)


def machine() -> str:
    """Processor architecture and cores, never the machine's name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
