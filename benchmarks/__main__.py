"""``bouquet bench [NAME ...]``: all benchmarks, or those named. Prints Markdown for docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

NAMES = ("network", "service", "startup")


def main(argv: Sequence[str] | None = None) -> int:
    """Run them one after another."""
    parser = argparse.ArgumentParser(prog="bouquet bench", description="Measure how fast Bouquet is on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    arguments = parser.parse_args(argv)
    for name in arguments.names:
        if name not in NAMES:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
