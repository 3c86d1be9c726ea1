"""What a job that failed leaves in RQ: why."""

from __future__ import annotations

import dataclasses
import re

from worker.protocol.job import RETRIES


@dataclasses.dataclass(frozen=True, slots=True)
class FailureReason:
    """Why a job failed: a stable `code` for programs and a `detail` of one line for people.

    A worker ends the failure text it gives RQ with `to_text()`. Codes: `foreign-job`, `invalid-request`,
    `deadline-exceeded`, `stopped` (on request, through RQ), `store-failed`, `computation-failed`, `worker-lost` (died
    under the job, no retries left) and `internal-error` (everything else).
    """

    code: str
    detail: str

    def to_text(self) -> str:
        """One line, the last of the failure text."""
        return f"bouquet-failure {self.code}: {' '.join(self.detail.split())}"

    @classmethod
    def from_text(cls, text: str | None) -> FailureReason:
        """Finds the reason in RQ's failure text; texts that RQ itself wrote are given a code as well."""
        lines = [line for line in (text or "").splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if match := re.fullmatch(r"bouquet-failure ([a-z-]+): (.*)", last):
            return cls(match[1], match[2])
        if "AbandonedJobError" in last:
            return cls("worker-lost", f"The worker died {RETRIES + 1} times while it ran this job.")
        return cls("internal-error", "The job failed for a reason that was not foreseen; the worker's log has it.")
