"""``bouquet bench [NAME ...]`` or ``bouquet bench NAME OPTIONS``. Prints Markdown for docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

NAMES = ("network", "service", "startup", "serve", "api")
"""All benchmarks, in the order in which they run."""
WITH_OPTIONS = {
    "api": "the front end alone: posts at a steady rate, readers of events, a flood",
    "serve": "three ways of batching under the same load, and what the queue costs",
    "simulate": "the scheduler on other machines and on many workers, in virtual time; never run unless named",
}
"""Those whose main() takes arguments and returns an exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run them one after another; or one alone, with its options."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in WITH_OPTIONS and not set(arguments[1:]) & set(NAMES):
        return _run(arguments[0], arguments[1:])
    parser = argparse.ArgumentParser(
        prog="bouquet bench",
        description="Measure how fast Bouquet is on this machine.",
        epilog="With options of their own, when named alone (bouquet bench NAME --help): "
        + "; ".join(f"{name}: {what}" for name, what in WITH_OPTIONS.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    names = parser.parse_args(arguments).names
    for name in names:
        if name not in NAMES:
            parser.error(
                f"there is no benchmark {name!r}; there are {', '.join(dict.fromkeys((*NAMES, *WITH_OPTIONS)))}"
            )
    return max([_run(name) for name in names or NAMES])


def _run(name: str, arguments: Sequence[str] = ()) -> int:
    run = importlib.import_module(f"benchmarks.{name}").main
    return int(run(arguments)) if name in WITH_OPTIONS else int(run() or 0)


if __name__ == "__main__":
    sys.exit(main())
