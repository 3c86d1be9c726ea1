"""RQ's queue as workers use it: what strands before its start goes back, and no lock long outlives its holder."""

from __future__ import annotations

import logging
from typing import Final, cast

from rq.intermediate_queue import IntermediateQueue
from rq.queue import Queue
from rq.utils import now
from rq.worker import BaseWorker

from worker.generation_job import GenerationJob

log = logging.getLogger(__name__)

STRANDED_SECONDS: Final = 5.0
"""How long a job may be between queue and start: a worker needs milliseconds."""

_MAINTENANCE_LOCK_SECONDS: Final = 5

PUT_BACK: Final = """
-- KEYS: the intermediate list, the queue, when the job was seen first in that list. ARGV: the job's id.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then
  redis.call('DEL', KEYS[3])
  redis.call('LPUSH', KEYS[2], ARGV[1])
  return 1
end
return 0
"""
"""Moves a job from the intermediate list to the front of the queue, unless somebody else has just done that."""


class PatientIntermediateQueue(IntermediateQueue):
    """The list in which jobs are between queue and start. One that is stuck there goes back to the queue's front.

    RQ would fail it after a minute, and spend one of its retries.
    """

    patience = STRANDED_SECONDS

    def get_job_ids(self) -> list[str]:
        """As RQ's, but what is no text, and so no job's id, is thrown away: RQ would raise, for every worker."""
        job_ids = []
        for entry in cast("list[bytes]", self.connection.lrange(self.key, 0, -1)):
            try:
                job_ids.append(entry.decode())
            except UnicodeDecodeError:
                log.warning("%r between queue and start is no id; it is thrown away", entry)
                self.remove(entry)
        return job_ids

    def remove(self, job_id: str | bytes) -> None:
        """As RQ's, which takes bytes as well but does not say so."""
        super().remove(cast(str, job_id))

    def cleanup(self, worker: BaseWorker, queue: Queue) -> None:
        """Puts back what has been here beyond our patience: its worker died, or is stopped and will find it gone."""
        for job_id in self.get_job_ids():
            if self.set_first_seen(job_id):
                continue
            first_seen = self.get_first_seen(job_id)
            if first_seen is None or (now() - first_seen).total_seconds() < self.patience:
                continue
            keys = [self.key, self.queue_key, self.get_first_seen_key(job_id)]
            if self.connection.eval(PUT_BACK, len(keys), *keys, job_id):
                log.warning("job %s was stranded before its start; it is at the front of the queue again", job_id)


class GenerationQueue(Queue):
    """RQ's queue with generation jobs, a patient intermediate queue and a maintenance lock that soon lapses."""

    job_class = GenerationJob
    patience = STRANDED_SECONDS
    """Seconds that a job may be between queue and start."""

    @property
    def intermediate_queue(self) -> PatientIntermediateQueue:
        jobs = PatientIntermediateQueue(self.key, connection=self.connection)
        jobs.patience = self.patience
        return jobs

    def acquire_maintenance_lock(self) -> bool:
        """RQ's own lock outlives a killed holder by a quarter of an hour, in which nobody's jobs would be recovered."""
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=_MAINTENANCE_LOCK_SECONDS))
