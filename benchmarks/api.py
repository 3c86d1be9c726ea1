"""The front end alone: posts at a steady rate, a thousand readers of events, and a flood."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import report
from benchmarks.api_flood import flood
from benchmarks.api_posts import post_steadily
from benchmarks.api_readers import WHOLE, read_events
from benchmarks.serve_figures import quantile
from benchmarks.stack import Part, answers, embedded_queue, free_port, wait_until

PARTS = ("posts", "readers", "flood")
_WARM_UP_SECONDS = 2.0
_SEEDS_A_PART = 10**9
_FLOOD_LIMIT = 50_000
"""Image-steps that may wait during the flood: 2,500 of its jobs."""
_STEP_SECONDS = 0.02
"""Of the stand-in network that the readers' jobs run on: it sleeps."""


def main(argv: Sequence[str] = ()) -> int:
    """Print what the front end can do, for each part that is asked for."""
    options = _parse(argv)
    for part in options.parts:
        with TemporaryDirectory() as folder:
            {"posts": _posts, "readers": _readers, "flood": _flood}[part](options, Path(folder))
    return 0


class _FrontEnd(Part):
    """`bouquet api` as people run it, its lines for each request included, on one core where that can be asked for."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.port = free_port()
        super().__init__("api", home, "--port", str(self.port), BOUQUET_LOG_LEVEL="info", **environment)

    def wait(self) -> None:
        """Returns when it answers."""
        wait_until(lambda: answers(f"http://127.0.0.1:{self.port}/health/live"))
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self.pid, {max(os.sched_getaffinity(0))})

    def cpu_seconds(self) -> float:
        """Processor time used so far; NaN where there is no /proc."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return math.nan
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _front_end(home: Path, **environment: str) -> Iterator[_FrontEnd]:
    with embedded_queue(home), _FrontEnd(home, **environment) as front_end:
        front_end.wait()
        yield front_end


def _posts(options: argparse.Namespace, folder: Path) -> None:
    report.heading(f"Front end: {options.rate:g} posts a second, at a steady rate, one core")
    rows = []
    with _front_end(folder, BOUQUET_QUEUE_LIMIT=str(10**9)) as front_end:
        post_steadily(front_end.port, options.rate, _WARM_UP_SECONDS, options.seed)
        for number in range(1, options.rounds + 1):
            before = front_end.cpu_seconds()
            posts = post_steadily(front_end.port, options.rate, options.seconds, options.seed + number * _SEEDS_A_PART)
            cpu = front_end.cpu_seconds() - before
            count = len(posts.from_due)
            quantiles = [
                1e3 * quantile(times, share) for times in (posts.from_due, posts.from_sent) for share in (0.5, 0.99)
            ]
            rows.append((count, count / posts.lasted, *quantiles, 1e3 * cpu / count, cpu / posts.lasted))
    report.table(
        (
            "posts",
            "a second",
            "p50 ms",
            "p99 ms",
            "p50 ms, since sent",
            "p99 ms, since sent",
            "processor ms a post",
            "cores used",
        ),
        rows,
    )


def _readers(options: argparse.Namespace, folder: Path) -> None:
    # Here, since the other parts need nothing that takes seconds to import.
    from benchmarks.serve_policies import CONTINUOUS
    from benchmarks.serve_stack import ArmWorker
    from benchmarks.simulation_hardware import write_step_seconds

    report.heading(f"Front end: {options.readers} readers of events, {options.jobs} jobs, one core")
    pace = write_step_seconds(dict.fromkeys((1, 2, 4, 8), _STEP_SECONDS))
    worker = ArmWorker(folder, "--arm", CONTINUOUS, "--ticks", str(folder / "ticks"), "--pace", pace)
    with _front_end(folder) as front_end, contextlib.ExitStack() as stack:
        before = 0.0

        async def begin() -> None:
            nonlocal before
            before = front_end.cpu_seconds()
            stack.enter_context(worker)

        readings = asyncio.run(read_events(front_end.port, options.readers, options.jobs, options.seed, begin))
        cpu, memory = front_end.cpu_seconds() - before, front_end.resident_mib()
    report.table(
        (f"saw {', '.join(WHOLE)}", "of", "MB sent", "processor s, front end", "resident MiB"),
        [(readings.whole, options.readers, readings.bytes_read / 1e6, cpu, memory)],
    )
    for sequence, count in readings.sequences.items():
        if sequence != WHOLE:
            print(f"{count} readers saw {', '.join(sequence)}.\n")


def _flood(options: argparse.Namespace, folder: Path) -> None:
    report.heading(f"Front end: {options.flood} posts at once, {_FLOOD_LIMIT} image-steps may wait, one core")
    with _front_end(folder, BOUQUET_QUEUE_LIMIT=str(_FLOOD_LIMIT)) as front_end:
        before = front_end.cpu_seconds()
        seen = flood(front_end.port, options.flood, options.seed, with_keys=options.keys)
        cpu = front_end.cpu_seconds() - before
    report.table(("answer", "times"), [(status, times) for status, times in sorted(seen.statuses.items())])
    report.table(
        (
            "refused without Retry-After",
            "answers a second",
            "processor ms an answer",
            "others answered meanwhile",
            "others failed",
            "their p50 ms",
            "their p99 ms",
        ),
        [
            (
                seen.without_retry_after,
                options.flood / seen.lasted,
                1e3 * cpu / options.flood,
                len(seen.probes),
                seen.failed_probes,
                1e3 * quantile(seen.probes, 0.5),
                1e3 * quantile(seen.probes, 0.99),
            )
        ],
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bouquet bench api", description=__doc__, allow_abbrev=False)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure (all)")
    parser.add_argument("--rate", type=float, default=200.0, metavar="N", help="posts a second (200)")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of posts, for each round (20)")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="of posts (2)")
    parser.add_argument("--readers", type=int, default=1000, metavar="N", help="of events (1000)")
    parser.add_argument("--jobs", type=int, default=50, metavar="N", help="that they watch (50)")
    parser.add_argument("--flood", type=int, default=10_000, metavar="N", help="posts in the flood (10000)")
    parser.add_argument("--keys", action="store_true", help="each post of the flood has an Idempotency-Key")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first image that is asked for (0)")
    return parser.parse_args(argv)
