"""A started job in the hands of a worker, and how such a job ends."""

from __future__ import annotations

import dataclasses
from typing import Final

from rq.executions import Execution

from worker.generation_job import GenerationJob
from worker.generation_queue import GenerationQueue
from worker.protocol import FailureReason, GenerationResult

LEASE_FIELD: Final = "bouquet_lease"
"""Field of a job's hash: the id of the execution that may finish it."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Lease:
    """A started job that is ours until the lease lapses."""

    job: GenerationJob
    queue: GenerationQueue
    execution: Execution

    @property
    def job_id(self) -> str:
        return self.job.id


@dataclasses.dataclass(frozen=True, slots=True)
class Finish:
    """How a leased job ends: with a result, or with a reason for its failure.

    `text` is the failure text (a traceback, say) that the reason is put under. `retry` lets RQ run the job again if it
    has retries left. `stopped` marks a job that was stopped on request.
    """

    lease: Lease
    result: GenerationResult | None = None
    reason: FailureReason | None = None
    text: str = ""
    retry: bool = False
    stopped: bool = False
