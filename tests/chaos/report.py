"""What a chaos run tells at its end: a table in Markdown, what is wrong, and the verdict in the last line."""

from __future__ import annotations

import collections
import signal
import statistics
from typing import Final

from tests.chaos.audit import Findings
from tests.chaos.plan import FaultKind
from tests.chaos.run import Run

RECOVERY_LIMIT: Final = 20.0
"""Seconds from a SIGKILL until the jobs are in the queue again or begun, the queue being there."""

_SHOWN: Final = 8


def report(run: Run, found: Findings, images: int, aside: int, wrong_pixels: list[str]) -> bool:
    """Prints all of it; returns whether nothing is wrong."""
    storm, client, leases = run.storm, run.client, run.leases
    deaths_alone, deaths_with_queue = (storm.recoveries.deaths(disturbed=disturbed) for disturbed in (False, True))
    recovered = [death.recovered_after for death in deaths_alone]
    troubles = [*run.crew.troubles, *storm.troubles]
    deaths = collections.Counter(worker.code for worker in run.crew.all)
    points = ", ".join(f"{point} {count}" for point, count in sorted(storm.points.items()))
    ends = ", ".join(f"{count} {end}" for end, count in found.ends.most_common())
    rows = [
        (
            "Seed; jobs in flight; workers at a time; started in all",
            f"{run.options.seed}; {run.options.in_flight}; {run.options.workers}; {len(run.crew.all)}",
        ),
        ("Lease, beat, maintenance, drain", f"{leases.lease}, {leases.beat}, {leases.maintenance}, {leases.drain} s"),
        ("Seconds", f"{run.seconds:.0f}"),
        ("Jobs accepted", str(client.accepted)),
        ("Jobs' ends", ends),
        ("Jobs canceled by the client; pushed into the queue twice", f"{client.canceled}; {client.pushed_twice}"),
        *((kind.value, str(storm.struck[kind])) for kind in FaultKind),
        ("SIGKILLs of workers", str(deaths[-signal.SIGKILL])),
        ("of them at a chosen point", points or "none"),
        ("From SIGTERM to the end", _spread(storm.stops)),
        ("From SIGKILL until its jobs were in the queue or begun again", _spread(recovered)),
        ("until all were begun again", _spread([death.begun_after for death in deaths_alone])),
        (
            "From SIGKILL, when Valkey was away meanwhile",
            _spread([death.recovered_after for death in deaths_with_queue]),
        ),
        ("Images of finished jobs; in the store", f"{found.images}; {images}"),
        ("Files left half written aside, never seen as images", str(aside)),
        ("Images with wrong pixels", str(len(wrong_pixels))),
        *(
            (f"Jobs {what}" if what in ("lost", "finished twice") else what[0].upper() + what[1:], str(len(which)))
            for what, which in found.wrong.items()
        ),
    ]
    print("\n| what | how many |\n|---|---|")
    for what, how_many in rows:
        print(f"| {what} | {how_many} |")
    wrong = found.wrong | {"wrong pixels": wrong_pixels, "troubles": troubles}
    if run.stalled:
        troubles.append("nothing moved any more")
    troubles += [
        f"the jobs of {death.worker} were recovered after {death.recovered_after:.1f} s, more than {RECOVERY_LIMIT} s"
        for death in deaths_alone
        if death.recovered_after > RECOVERY_LIMIT
    ]
    print()
    for what, which in wrong.items():
        for line in which[:_SHOWN]:
            print(f"{what}: {line}")
        if len(which) > _SHOWN:
            print(f"{what}: and {len(which) - _SHOWN} more")
    good = not any(wrong.values()) and found.finished > 0
    print(
        f"{'PASSED' if good else 'FAILED'}: {client.accepted} jobs, {deaths[-signal.SIGKILL]} SIGKILLs, "
        f"{storm.struck[FaultKind.TERM] + storm.struck[FaultKind.TERM_TWICE]} SIGTERMs, "
        f"{storm.struck[FaultKind.QUEUE_KILL]} Valkey restarts: {len(found.wrong['lost'])} lost, "
        f"{len(found.wrong['finished twice'])} finished twice, "
        f"{len(wrong_pixels)} wrong images (seed {run.options.seed})"
    )
    return good


def _spread(seconds: list[float]) -> str:
    if not seconds:
        return "none"
    return f"median {statistics.median(seconds):.1f} s, max {max(seconds):.1f} s ({len(seconds)})"
