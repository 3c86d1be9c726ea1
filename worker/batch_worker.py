"""An RQ worker that runs many jobs at once, in one process and without forking: RQ's loop around a Workshop.

Its life: `bootstrap` loads the model and warms it up, RQ's `work` waits for a job and hands it to `execute_job`, which
takes more as they come and returns when none is left. The main thread does all the booking; ticks are planned, run and
committed in the workshop's, which never waits for Redis; the thread of the LeaseKeeper renews the leases.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import math
import queue
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final, Literal, cast

import redis
from redis.client import Pipeline
from rq.command import parse_payload
from rq.exceptions import StopRequested
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import as_text, now
from rq.worker import BaseWorker, WorkerStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from worker import recovery, rq_internals
from worker.drain import jobs_to_finish
from worker.engine import EngineError
from worker.generation_job import GenerationJob, RefusedError
from worker.generation_queue import GenerationQueue
from worker.lease import Finish, Lease
from worker.lease_keeper import LeaseKeeper
from worker.logs import about
from worker.order_book import JobEnd, Succeeded
from worker.progress import ProgressBoard
from worker.protocol import (
    MODEL_KEY,
    QUEUE_NAME,
    RESULT_TTL,
    FailureReason,
    WorkerReadiness,
    worker_ready_key,
)
from worker.settings import WorkerSettings
from worker.workshop import Workshop

log = logging.getLogger(__name__)

BROKEN_EXIT_CODE: Final = 70
_POLL_SECONDS: Final = 0.01
_TAKEN_AT_ONCE: Final = 32
_PAUSE_AFTER_ERROR: Final = 0.5
_SWEEP_SECONDS: Final = 60.0
_SAME_SIGNAL_SECONDS: Final = 1.0
_ROOM_SECONDS: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class OpenWorkshop:
    """A workshop that is warm, and what it serves: `Bundle.description()` and its revision."""

    workshop: Workshop
    description: dict[str, Any]
    revision: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Held:
    """A job in the workshop, and when its time is over (`time.monotonic`)."""

    lease: Lease
    deadline: float


class BatchWorker(BaseWorker):
    """See the head of this file. `exit_code` says how it ended: 0 in order, 70 with a broken engine."""

    queue_class = GenerationQueue
    job_class = GenerationJob

    def __init__(
        self, settings: WorkerSettings, connection: redis.Redis, name: str, open_workshop: Callable[[], OpenWorkshop]
    ) -> None:
        """Makes a worker; nothing is loaded before `work`.

        Args:
            settings: see worker/settings.py.
            connection: to the queue's Redis.
            name: this worker's alone among all that live.
            open_workshop: loads the model and warms it up; called by `bootstrap`.
        """
        super().__init__(
            [QUEUE_NAME],
            name=name,
            connection=connection,
            default_result_ttl=RESULT_TTL,
            maintenance_interval=cast(int, settings.maintenance_seconds),
            serializer=JSONSerializer,
            log_job_description=False,
        )
        self._queue.patience = min(self._queue.patience, settings.lease_seconds)
        self.exit_code = 0
        self._settings = settings
        self._open_workshop = open_workshop
        self._opened: OpenWorkshop | None = None
        self._held: dict[str, _Held] = {}
        self._finishes: list[Finish] = []
        self._orders: queue.SimpleQueue[tuple[Literal["stop", "lost"], str, Lease | None]] = queue.SimpleQueue()
        self._board = ProgressBoard(connection)
        self._keeper = LeaseKeeper(
            self._beat,
            beat_seconds=settings.beat_seconds,
            lease_seconds=settings.lease_seconds,
            stall_seconds=settings.stall_seconds,
        )
        self._stop_asked_at: float | None = None
        self._hurry = False
        self._draining = False
        self._closed_to_others = False
        self._tick_seen: float | None = None
        self._suspended = False
        self._peers = 1
        self._pause_until = 0.0
        self._trust_leases_at = 0.0
        self._beat_at = time.time()
        self._next_sweep = 0.0

    @property
    def workshop(self) -> Workshop:
        """What computes; there from `bootstrap` on."""
        if self._opened is None:
            raise RuntimeError("the worker has not been bootstrapped")
        return self._opened.workshop

    @property
    def connection_timeout(self) -> int:
        """Seconds that a command may take: RQ would wait for minutes, during which nothing else is booked."""
        return 10

    # --- RQ's hooks: coming and going ---

    def bootstrap(self, *arguments: Any, **options: Any) -> None:
        """Loads the model, warms it up, and only then says that there is a worker."""
        self._opened = self._open_workshop()
        while True:
            try:
                super().bootstrap(*arguments, **options)
                self._beat()
                self._distrust_leases()  # the queue may be back this very moment, or we be started because it is
                break
            except (redis.ConnectionError, redis.TimeoutError) as error:
                log.warning("the queue does not answer (%s); trying again", error)
                time.sleep(_PAUSE_AFTER_ERROR)
        self._keeper.start()
        self.workshop.start()
        log.info("worker %s is ready: %d slots, %.0f image-steps a second", self.name, self.workshop.slots, self._rate)

    def teardown(self) -> None:
        """Says goodbye. A Redis that does not answer keeps nobody here."""
        self.workshop.close()
        self._keeper.stop()
        try:
            with self.connection.pipeline(transaction=False) as pipeline:
                pipeline.delete(worker_ready_key(self.name))
                self.workshop.metrics.publish(pipeline, self.name)
                pipeline.execute()
            super().teardown()
        except redis.RedisError as error:
            log.warning("cannot sign off: %s", error)

    def request_stop(self, signum: int | None, frame: FrameType | None) -> None:
        """On a signal: finish what can be finished in time. A second one, a second later or more: give all back."""
        moment = time.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = moment
            self._stop_requested = True
        elif moment - self._stop_asked_at > _SAME_SIGNAL_SECONDS:
            self._hurry = True

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """As RQ's, but lives no longer than a lease, and a Redis that is away does not end the worker."""
        timeout = timeout or self._settings.lease_seconds
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            return
        try:
            super().heartbeat(timeout)
        except redis.RedisError as error:
            self._note_trouble(error)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """As RQ's, but a registration that lapsed and is made anew by this lapses again."""
        super().set_state(state, pipeline)
        (self.connection if pipeline is None else pipeline).expire(self.key, self._settings.lease_seconds)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """The length of a lease, in seconds."""
        return self._settings.lease_seconds

    def check_for_suspension(self, burst: bool) -> None:
        try:
            super().check_for_suspension(burst)
        except redis.RedisError as error:
            self._note_trouble(error)

    def run_maintenance_tasks(self) -> None:
        """Recovers jobs of workers that died; not soon after trouble with Redis: all have to renew their leases."""
        silent = time.time() - self._beat_at  # not the monotonic clock, which stops when the machine sleeps
        if silent > self._settings.lease_seconds - self._settings.beat_seconds:
            # We or the queue were stopped, with no error to tell of it. That long, and leases of the living lapse.
            self._distrust_leases()
        if time.monotonic() < self._trust_leases_at:
            return
        try:
            super().run_maintenance_tasks()
            if time.monotonic() >= self._next_sweep:
                self._next_sweep = time.monotonic() + _SWEEP_SECONDS
                recovery.sweep_canceled(self, self._queue)
        except redis.RedisError as error:
            self._note_trouble(error)

    def clean_registries(self) -> None:
        """As RQ's, but recovers jobs under watch; see worker/recovery.py."""
        moment = time.time()  # before the queue is asked for anything: it may be stopped, and answer much later
        if self._queue.acquire_maintenance_lock():
            recovery.recover(self, self._queue, moment)
            recovery.tidy_up(self, self._queue)
            self._queue.release_maintenance_lock()
        self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ says it is None

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Waits for a job, looking up each second whether to stop; None when stopped, or idle with `timeout` None."""
        idle_since = time.monotonic()
        settled = False
        while not self._stop_requested:
            self._keeper.pulse()
            try:
                if not settled:
                    self.set_state(WorkerStatus.IDLE)
                    settled = True
                self.check_for_suspension(burst=timeout is None)
                if self.should_run_maintenance_tasks:
                    self.run_maintenance_tasks()
                source, target = self._queue.key, self._queue.intermediate_queue_key
                if timeout is None:
                    job_id = self.connection.lmove(source, target)
                else:
                    job_id = self.connection.blmove(source, target, 1)
                if job_id is not None:
                    if jobs := rq_internals.fetch_taken(self, self._queue, [as_text(job_id)]):
                        return jobs[0], self._queue
                    continue
            except (redis.ConnectionError, redis.TimeoutError) as error:
                self._note_trouble(error)
                time.sleep(_PAUSE_AFTER_ERROR)
                continue
            if timeout is None or (max_idle_time is not None and time.monotonic() - idle_since > max_idle_time):
                return None
        return None

    # --- RQ's hooks: commands, in the thread of the subscription ---

    def handle_payload(self, message: dict[str, Any]) -> None:
        """Passes `stop-job` and `stop-execution` on to the main thread; leaves `shutdown` to RQ."""
        try:
            payload = parse_payload(message)
            command, job_id = payload["command"], payload.get("job_id")
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("a command that cannot be read was ignored")
            return
        if command in ("stop-job", "stop-execution") and isinstance(job_id, str):
            self._orders.put(("stop", job_id, None))
        elif command == "shutdown":
            super().handle_payload(message)

    # --- the work ---

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs this job and all that come meanwhile, until none is left or the worker has to stop."""
        self._closed_to_others = False
        try:
            self._begin([cast(GenerationJob, job)])
            while self._held or self._finishes:
                self._turn()
        except EngineError as error:
            log.critical("%s The jobs go back to the queue, and this worker ends.", error)
            self.exit_code = BROKEN_EXIT_CODE
            self._give_back(list(self._held.values()))
            raise StopRequested from error

    def _turn(self) -> None:
        """All the bookkeeping that there is to do now, beside the ticks; then waits a little for more."""
        tick = self.workshop.tick_began
        if tick is None or tick != self._tick_seen:
            self._tick_seen = tick
            self._keeper.pulse()
        # First of all: what has been done is not given back.
        self._finishes += [self._finish_of(end) for end in self.workshop.take_ends() if end.job_id in self._held]
        self._obey()
        self._end_late_jobs()
        if self._stop_requested:
            self._drain()
        self._book()
        self._show_progress()
        self._show_previews()
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()
        if not self._admit() and self._held:
            self.workshop.wait(_POLL_SECONDS)

    def _admit(self) -> bool:
        """Takes jobs from the queue, if there is room for more; returns whether there were any."""
        room = self._jobs_held - len(self._held)
        closed = self._stop_requested or self._suspended or self._closed_to_others
        if room <= 0 or closed or time.monotonic() < self._pause_until:
            return False
        try:
            return self._begin(rq_internals.take(self, self._queue, min(room, _TAKEN_AT_ONCE), self._peers))
        except redis.RedisError as error:
            self._note_trouble(error)
            return False

    def _begin(self, jobs: Sequence[GenerationJob]) -> bool:
        """Begins jobs; one that workers have died under is run alone, so that it can take nobody along again."""
        unsuspected = list(itertools.takewhile(lambda job: not job.is_suspect, jobs))
        others = jobs[len(unsuspected) :]
        if not others:
            return self._start(unsuspected)
        self._closed_to_others = True
        try:
            if not self._held and not unsuspected:
                log.warning("job %s is run alone: workers have died under it", others[0].id)
                rq_internals.put_back(self, self._queue, others[1:])
                return self._start(others[:1])
            # Its turn comes when we are empty: soon, since what takes long is given back, to come behind it.
            begun = self._start(unsuspected)
            self._give_back(self._late(_ROOM_SECONDS))
            rq_internals.put_back(self, self._queue, others)
            return begun
        except redis.RedisError as error:  # they are in the intermediate list, from where they will be put back
            self._note_trouble(error)
            return False

    def _start(self, jobs: Sequence[GenerationJob]) -> bool:
        """Starts jobs, and brings them into the workshop; returns whether there were any."""
        try:
            leases = rq_internals.start(self, self._queue, jobs, self._settings.lease_seconds)
        except redis.RedisError as error:  # they are in the intermediate list, from where they will be put back
            self._note_trouble(error)
            return False
        for lease in leases:
            if (lapsed := self._held.get(lease.job_id)) is not None:  # and we are who took the job over
                self._let_go(lapsed.lease)
            timeout = lease.job.timeout if lease.job.timeout and lease.job.timeout > 0 else math.inf
            self._held[lease.job_id] = _Held(lease, time.monotonic() + timeout)
            if not lease.job.starts:
                self.workshop.metrics.begin_job(lease.job_id, lease.job.created_at.timestamp())
            try:
                self.workshop.enter(lease.job_id, lease.job.request())
            except RefusedError as error:
                log.warning("job %s is refused: %s", lease.job_id, error, extra=about(lease.job))
                self._finishes.append(Finish(lease, reason=error.reason))
        return bool(leases)

    def _finish_of(self, end: JobEnd) -> Finish:
        lease = self._held[end.job_id].lease
        if isinstance(end, Succeeded):
            return Finish(lease, result=end.result)
        return Finish(lease, reason=end.reason, text=end.text, retry=end.reason.code == "internal-error")

    def _book(self) -> None:
        """Books what has ended, all at once; if Redis does not answer, the next time."""
        if not self._finishes or time.monotonic() < self._pause_until:
            return
        try:
            lost = rq_internals.finish(self, self._finishes)
        except redis.RedisError as error:
            self._note_trouble(error)
            return
        finishes, self._finishes = self._finishes, []
        self._tell_watchers(finishes)
        for end in finishes:
            job_id = end.lease.job_id
            if job_id in lost:
                self._let_go(end.lease)
                continue
            self._forget(end.lease)
            if end.result is not None:
                seconds, images = end.result.run_seconds, len(end.result.images)
                self.workshop.metrics.job_succeeded(job_id, seconds)
                log.info("job %s: %d images in %.2f s", job_id, images, seconds, extra=about(end.lease.job))
            elif end.reason is not None:
                code, detail = end.reason.code, end.reason.detail
                self.workshop.metrics.job_failed(job_id, code)
                log.warning("job %s failed: %s: %s", job_id, code, detail, extra={"code": code} | about(end.lease.job))

    def _obey(self) -> None:
        """Carries out what other threads have asked for."""
        while True:
            try:
                order, job_id, lease = self._orders.get_nowait()
            except queue.Empty:
                return
            held = self._held.get(job_id)
            if held is None or (lease is not None and held.lease is not lease):
                continue
            if order == "lost":
                self._let_go(held.lease)
            else:
                self._end(held.lease, FailureReason("stopped", "The job was stopped on request."), stopped=True)

    def _end_late_jobs(self) -> None:
        moment = time.monotonic()
        for held in [held for held in self._held.values() if moment > held.deadline]:
            detail = f"The job was not done within its {held.lease.job.timeout:.0f} s."
            self._end(held.lease, FailureReason("deadline-exceeded", detail))

    def _end(self, lease: Lease, reason: FailureReason, *, stopped: bool = False) -> None:
        """Ends a job before its time; its slots are free from the next tick on."""
        self.workshop.cancel(lease.job_id)
        if all(finish.lease is not lease for finish in self._finishes):
            self._finishes.append(Finish(lease, reason=reason, stopped=stopped))

    def _let_go(self, lease: Lease) -> None:
        """Drops a job that is no longer ours: it was canceled, or another worker has it."""
        self.workshop.metrics.job_lost(lease.job_id)
        log.info("job %s was canceled or has gone to another worker", lease.job_id, extra=about(lease.job))
        self._forget(lease)
        try:
            rq_internals.abandon(self, [lease])
        except redis.RedisError as error:
            self._note_trouble(error)

    def _forget(self, lease: Lease) -> None:
        if (held := self._held.get(lease.job_id)) is not None and held.lease is lease:
            del self._held[lease.job_id]
            self.workshop.cancel(lease.job_id)
        self._finishes = [finish for finish in self._finishes if finish.lease is not lease]

    def _drain(self) -> None:
        """Gives back what cannot be finished in time; all the rest once the time is over."""
        asked_at = self._stop_asked_at if self._stop_asked_at is not None else time.monotonic()
        left = self._settings.drain_seconds - (time.monotonic() - asked_at)
        if self._hurry or left <= 0:
            long_over = left < -self._settings.lease_seconds
            if long_over:
                self._pause_until = 0.0
            self._give_back(self._late(0.0))
            if long_over:
                self._book()
                if self._pause_until:  # Redis has been away for long, and still is: others will recover the jobs
                    self._held, self._finishes = {}, []
        elif not self._draining:
            self._draining = True
            late = self._late(left)
            log.info("stopping: %d jobs are finished, %d go back", len(self._held) - len(late), len(late))
            self._give_back(late)

    def _late(self, seconds: float) -> list[_Held]:
        """The jobs that cannot be finished in so many seconds; none of those that have only to be booked."""
        ending = {finish.lease.job_id for finish in self._finishes}
        remaining = {job_id: self.workshop.remaining_image_steps(job_id) for job_id in self._held}
        in_time = jobs_to_finish(remaining, seconds, self._rate) if seconds > 0 else set()
        return [held for job_id, held in self._held.items() if job_id not in in_time | ending]

    def _give_back(self, jobs: Sequence[_Held]) -> None:
        leases = [held.lease for held in jobs]
        try:
            lost = rq_internals.give_back(self, leases)
        except redis.RedisError as error:
            self._note_trouble(error)
            self._draining = False
            return
        for lease in leases:
            if lease.job_id in lost:
                self._let_go(lease)
            else:
                self.workshop.metrics.job_given_back(lease.job_id)
                self._forget(lease)

    def _show_progress(self) -> None:
        moment = time.monotonic()
        if not self._board.is_due(moment) or moment < self._pause_until:
            return
        try:
            self._board.write(self.workshop.progress(), moment)
        except redis.RedisError as error:
            self._note_trouble(error)
        self.workshop.watch(self._board.watched)

    def _show_previews(self) -> None:
        previews = self.workshop.take_previews()
        if not previews or time.monotonic() < self._pause_until:
            return
        try:
            self._board.show(previews)
        except redis.RedisError as error:  # they are of the moment: nobody wants them later
            self._note_trouble(error)

    def _tell_watchers(self, finishes: Sequence[Finish]) -> None:
        try:
            self._board.end(finish.lease.job_id for finish in finishes)
        except redis.RedisError as error:  # they look for themselves now and then
            self._note_trouble(error)

    # --- beats, in the keeper's thread ---

    def _beat(self) -> None:
        """Renews the registration and the leases, says that this worker is ready, and looks for what concerns all."""
        opened, lease_seconds = self._opened, self._settings.lease_seconds
        if opened is None:
            return
        began = time.time()
        leases = [held.lease for held in list(self._held.values())]
        lost = rq_internals.renew(self, leases, lease_seconds)
        self._beat_at = began
        readiness = WorkerReadiness(opened.revision, self.workshop.slots, round(self._rate, 3))
        with self.connection.pipeline(transaction=False) as pipeline:
            pipeline.set(worker_ready_key(self.name), readiness.to_json(), ex=lease_seconds)
            pipeline.set(MODEL_KEY, json.dumps(opened.description))
            self.workshop.metrics.serve(opened.revision, self.workshop.slots)
            self.workshop.metrics.publish(pipeline, self.name)
            pipeline.scard(WORKERS_BY_QUEUE_KEY % QUEUE_NAME)
            self._peers = max(1, pipeline.execute()[-1])
        self._suspended = rq_internals.is_suspended(self)
        for lease in leases:
            if lease.job_id in lost:
                self._orders.put(("lost", lease.job_id, lease))

    # --- odds and ends ---

    @property
    def _queue(self) -> GenerationQueue:
        return cast(GenerationQueue, self.queues[0])

    @property
    def _rate(self) -> float:
        return self.workshop.image_steps_per_second

    @property
    def _jobs_held(self) -> int:
        return self._settings.jobs_held or 4 * self.workshop.slots

    def _note_trouble(self, error: redis.RedisError) -> None:
        """Remembers that Redis failed: wait a little before asking again, longer before taking jobs for abandoned."""
        moment = time.monotonic()
        self._pause_until = moment + _PAUSE_AFTER_ERROR
        if moment > self._trust_leases_at:
            log.warning("trouble with the queue: %s", error)
        self._distrust_leases()

    def _distrust_leases(self) -> None:
        """Takes no lapsed lease for a death until all who live have had the time to renew theirs."""
        self._trust_leases_at = time.monotonic() + 2 * self._settings.beat_seconds
