"""Whether a worker grows: its resident memory while jobs go through it by the thousand."""

from __future__ import annotations

import dataclasses

from benchmarks.serve_queue_cost import jobs_per_second
from benchmarks.serve_stack import Service

LOT = 2000
"""Jobs between two looks. The first lot is not held against the worker: buffers, pools and caches fill."""


@dataclasses.dataclass(frozen=True)
class Growth:
    """Resident memory in MiB after each lot of jobs."""

    resident: tuple[float, ...]

    @property
    def share(self) -> float:
        """The most that it was after the first lot, by what it was then, less one."""
        return max(self.resident[1:], default=self.resident[0]) / self.resident[0] - 1


def measure_growth(service: Service, jobs: int) -> Growth:
    """Sends so many jobs of one image and one step through a service whose network costs nothing."""
    resident = []
    for lot in range(max(1, jobs // LOT)):
        jobs_per_second(service, LOT, 1, lot * LOT)
        resident.append(service.resident_mib("worker"))
    return Growth(tuple(resident))
