"""The jobs that a worker has leases on: begun, brought into the workshop, booked or given back when they leave it."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

import redis
from rq.worker import BaseWorker

from worker import rq_internals
from worker.drain import jobs_to_finish
from worker.generation_job import GenerationJob, RefusedError
from worker.generation_queue import GenerationQueue
from worker.image_claims import ImageClaims
from worker.lease import Finish, Lease
from worker.logs import about
from worker.order_book import JobEnd, Succeeded
from worker.protocol import FailureReason, GenerationRequest, ImageKey
from worker.queue_trouble import QueueTrouble
from worker.workshop import Workshop

log = logging.getLogger(__name__)

_TAKEN_AT_ONCE: Final = 32
_ROOM_SECONDS: Final = 5.0


@dataclasses.dataclass(slots=True)
class _Held:
    """A job in the workshop, and when its time is over."""

    lease: Lease
    deadline: float
    """By `time.monotonic`; put off while the job waits for a slot."""
    seen_at: float
    """When that was last done."""


class JobsInHand:
    """All methods are for the worker's main thread, but `leases`, which any thread may ask for.

    A queue that does not answer is noted in `trouble`, and raises nothing: jobs that were to be begun go back to the
    queue by themselves, and what was to be booked is booked the next time.
    """

    def __init__(
        self,
        worker: BaseWorker,
        queue: GenerationQueue,
        workshop: Workshop,
        claims: ImageClaims,
        trouble: QueueTrouble,
        *,
        lease_seconds: int,
        most: int,
        tell_ends: Callable[[Sequence[str]], None],
    ) -> None:
        """Begins with none.

        Args:
            worker: whose jobs they are.
            queue: where they come from, and go back to.
            workshop: computes them.
            claims: which of their images others compute.
            trouble: where a queue that fails is noted.
            lease_seconds: the length of a lease.
            most: how many jobs may be in hand.
            tell_ends: is called with the ids of jobs whose ends have been booked.
        """
        self._worker = worker
        self._queue = queue
        self._workshop = workshop
        self._claims = claims
        self._trouble = trouble
        self._lease_seconds = lease_seconds
        self._most = most
        self._tell_ends = tell_ends
        self._held: dict[str, _Held] = {}
        self._finishes: list[Finish] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._held)

    @property
    def leases(self) -> list[Lease]:
        return [held.lease for held in list(self._held.values())]

    # --- coming ---

    def open(self) -> None:
        """Lets jobs join those that are here: the one that had to be alone is gone."""
        self._closed = False

    def take(self, among: int) -> bool:
        """Takes jobs from the queue, if there is room for more; returns whether there were any.

        Of those that wait, it takes no more than its part, when they are divided `among` so many workers.
        """
        room = self._most - len(self._held)
        if room <= 0 or self._closed or self._trouble.is_recent:
            return False
        jobs: list[GenerationJob] = []
        with self._trouble.noted():
            jobs = rq_internals.take(self._worker, self._queue, min(room, _TAKEN_AT_ONCE), among)
        return self.begin(jobs)

    def begin(self, jobs: Sequence[GenerationJob]) -> bool:
        """Begins jobs; one that workers have died under is run alone, so that it can take nobody along again."""
        unsuspected = list(itertools.takewhile(lambda job: not job.is_suspect, jobs))
        others = jobs[len(unsuspected) :]
        if not others:
            return self._start(unsuspected)
        self._closed = True
        if not self._held and not unsuspected:
            log.warning("job %s is run alone: workers have died under it", others[0].id)
            self._put_back(others[1:])
            return self._start(others[:1])
        # Its turn comes when we are empty: soon, since what takes long is given back, to come behind it.
        begun = self._start(unsuspected)
        self.give_back(self.late(_ROOM_SECONDS))
        self._put_back(others)
        return begun

    def _put_back(self, jobs: Sequence[GenerationJob]) -> None:
        with self._trouble.noted():  # they are in the intermediate list, from where others put them back, too
            rq_internals.put_back(self._worker, self._queue, jobs)

    def _start(self, jobs: Sequence[GenerationJob]) -> bool:
        """Starts jobs, and brings them into the workshop; returns whether there were any."""
        leases: list[Lease] = []
        with self._trouble.noted():  # they are in the intermediate list, from where they will be put back
            leases = rq_internals.start(self._worker, self._queue, jobs, self._lease_seconds)
        begun: list[tuple[Lease, GenerationRequest]] = []
        for lease in leases:
            if (lapsed := self._held.get(lease.job_id)) is not None:  # and we are who took the job over
                self.let_go(lapsed.lease)
            timeout = lease.job.timeout if lease.job.timeout and lease.job.timeout > 0 else math.inf
            moment = time.monotonic()
            self._held[lease.job_id] = _Held(lease, moment + timeout, moment)
            if not lease.job.starts:
                self._workshop.metrics.begin_job(lease.job_id, lease.job.created_at.timestamp())
            try:
                begun.append((lease, self._request_of(lease.job)))
            except RefusedError as error:
                log.warning("job %s is refused: %s", lease.job_id, error, extra=about(lease.job))
                self._finishes.append(Finish(lease, reason=error.reason))
        elsewhere: set[ImageKey] = set()
        if begun:
            with self._trouble.noted():
                elsewhere = self._claims.claim(key for _, request in begun for key in request.image_keys)
        for lease, request in begun:
            self._workshop.enter(lease.job_id, request, elsewhere.intersection(request.image_keys))
        return bool(leases)

    def _request_of(self, job: GenerationJob) -> GenerationRequest:
        """What the job asks for. Raises RefusedError if that is nothing for us."""
        request = job.request()
        if (complaint := self._workshop.bundle.complaint_about(request)) is not None:
            raise RefusedError("invalid-request", complaint)
        return request

    def look_for_others(self) -> None:
        """Computes what others claimed and have not computed; lets go of claims on what is done."""
        moment = time.monotonic()
        # With the last job go the last claims: who has nothing to do does not look again.
        if self._trouble.is_recent or (self._held and not self._claims.is_due(moment)):
            return
        waiting, in_hand = self._workshop.made_elsewhere(), self._workshop.images_in_hand()
        with self._trouble.noted():
            if here := self._claims.look_again(waiting, in_hand, moment):
                self._workshop.make_here(here)

    # --- going ---

    def take_in_ends(self) -> None:
        """Looks what the workshop has done with them. Raises EngineError if that is broken."""
        self._finishes += [self._finish_of(end) for end in self._workshop.take_ends() if end.job_id in self._held]

    def _finish_of(self, end: JobEnd) -> Finish:
        lease = self._held[end.job_id].lease
        if isinstance(end, Succeeded):
            return Finish(lease, result=end.result)
        return Finish(lease, reason=end.reason, text=end.text, retry=end.reason.code == "internal-error")

    def book(self) -> None:
        """Books what has ended, all at once; if Redis does not answer, the next time."""
        if not self._finishes or self._trouble.is_recent:
            return
        try:
            lost = rq_internals.finish(self._worker, self._finishes)
        except redis.RedisError as error:
            self._trouble.note(error)
            return
        finishes, self._finishes = self._finishes, []
        self._tell_ends([finish.lease.job_id for finish in finishes])
        for end in finishes:
            job_id = end.lease.job_id
            if job_id in lost:
                self.let_go(end.lease)
                continue
            self._forget(end.lease)
            if end.result is not None:
                seconds, images = end.result.run_seconds, len(end.result.images)
                self._workshop.metrics.job_succeeded(job_id, seconds)
                log.info("job %s: %d images in %.2f s", job_id, images, seconds, extra=about(end.lease.job))
            elif end.reason is not None:
                code, detail = end.reason.code, end.reason.detail
                self._workshop.metrics.job_failed(job_id, code)
                log.warning("job %s failed: %s: %s", job_id, code, detail, extra={"code": code} | about(end.lease.job))

    def end_late_ones(self) -> None:
        """Fails the jobs whose time is over, in which waiting for a slot is not counted: a crowd is nobody's fault."""
        moment = time.monotonic()
        waiting = self._workshop.waiting_for_slots()
        for job_id, held in self._held.items():
            if job_id in waiting:
                held.deadline += moment - held.seen_at
            held.seen_at = moment
        for held in [held for held in self._held.values() if moment > held.deadline]:
            detail = f"The job was not done within its {held.lease.job.timeout:.0f} s."
            self._end(held.lease, FailureReason("deadline-exceeded", detail))

    def stop(self, job_id: str) -> None:
        """Ends a job because somebody asked for that. No error if it is not here."""
        if (held := self._held.get(job_id)) is not None:
            self._end(held.lease, FailureReason("stopped", "The job was stopped on request."), stopped=True)

    def lose(self, lease: Lease) -> None:
        """Drops a job whose lease is no longer ours. No error if we have that lease no more."""
        if (held := self._held.get(lease.job_id)) is not None and held.lease is lease:
            self.let_go(lease)

    def _end(self, lease: Lease, reason: FailureReason, *, stopped: bool = False) -> None:
        """Ends a job before its time; its slots are free from the next tick on."""
        self._workshop.cancel(lease.job_id)
        if all(finish.lease is not lease for finish in self._finishes):
            self._finishes.append(Finish(lease, reason=reason, stopped=stopped))

    def let_go(self, lease: Lease) -> None:
        """Drops a job that is no longer ours: it was canceled, or another worker has it."""
        self._workshop.metrics.job_lost(lease.job_id)
        log.info("job %s was canceled or has gone to another worker", lease.job_id, extra=about(lease.job))
        self._forget(lease)
        with self._trouble.noted():
            rq_internals.abandon(self._worker, [lease])

    def _forget(self, lease: Lease) -> None:
        if (held := self._held.get(lease.job_id)) is not None and held.lease is lease:
            del self._held[lease.job_id]
            self._workshop.cancel(lease.job_id)
        self._finishes = [finish for finish in self._finishes if finish.lease is not lease]

    def forget_all(self) -> None:
        """Leaves the jobs to whoever recovers them."""
        self._held, self._finishes = {}, []

    def late(self, seconds: float) -> list[Lease]:
        """The jobs that cannot be finished in so many seconds; none of those that have only to be booked."""
        ending = {finish.lease.job_id for finish in self._finishes}
        remaining = {job_id: self._workshop.remaining_image_steps(job_id) for job_id in self._held}
        rate = self._workshop.image_steps_per_second
        in_time = jobs_to_finish(remaining, seconds, rate) if seconds > 0 else set()
        return [held.lease for job_id, held in self._held.items() if job_id not in in_time | ending]

    def give_back(self, leases: Sequence[Lease]) -> bool:
        """Puts jobs back to the front of the queue, with no retry spent; returns whether the queue answered."""
        try:
            lost = rq_internals.give_back(self._worker, leases)
        except redis.RedisError as error:
            self._trouble.note(error)
            return False
        for lease in leases:
            if lease.job_id in lost:
                self.let_go(lease)
            else:
                self._workshop.metrics.job_given_back(lease.job_id)
                self._forget(lease)
        return True
