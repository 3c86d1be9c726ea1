"""An RQ worker that runs many jobs at once, in one process and without forking: RQ's loop around a Workshop.

Its life: `bootstrap` loads the model and warms it up, RQ's `work` waits for a job and hands it to `execute_job`, which
takes more as they come and returns when none is left. The main thread does all the booking; ticks are planned, run and
committed in the workshop's, which never waits for Redis; the thread of the LeaseKeeper renews the leases.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final, cast

import redis
from redis.client import Pipeline, PubSub, PubSubWorkerThread
from rq.command import parse_payload
from rq.exceptions import StopRequested
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import BaseWorker, WorkerStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from worker import recovery, rq_internals
from worker.engine import EngineError
from worker.generation_job import GenerationJob
from worker.generation_queue import GenerationQueue
from worker.image_claims import ImageClaims
from worker.jobs_in_hand import JobsInHand
from worker.lease import Lease
from worker.lease_keeper import LeaseKeeper
from worker.progress import ProgressBoard
from worker.protocol import (
    MODEL_KEY,
    QUEUE_NAME,
    RESULT_TTL,
    WorkerReadiness,
    worker_ready_key,
)
from worker.queue_trouble import PAUSE_SECONDS, QueueTrouble
from worker.settings import WorkerSettings
from worker.workshop import Workshop

log = logging.getLogger(__name__)

BROKEN_EXIT_CODE: Final = 70
_SHORTEST_POLL_SECONDS: Final = 0.01
_LONGEST_POLL_SECONDS: Final = 0.05
_SWEEP_SECONDS: Final = 60.0
_SAME_SIGNAL_SECONDS: Final = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class OpenWorkshop:
    """A workshop that is warm, and what it serves: `Bundle.description()` and its revision."""

    workshop: Workshop
    description: dict[str, Any]
    revision: str


class BatchWorker(BaseWorker):
    """See the head of this file. `exit_code` says how it ended: 0 in order, 70 by what it cannot help."""

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
        self._in_hand: JobsInHand | None = None
        self._orders: queue.SimpleQueue[str | Lease] = queue.SimpleQueue()
        """Ids of jobs that are to be stopped, and leases that have been lost."""
        self._trouble = QueueTrouble(settings.beat_seconds)
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
        self._tick_seen: float | None = None
        self._suspended = False
        self._peers = 1
        self._beat_at = time.time()
        self._next_sweep = 0.0

    @property
    def workshop(self) -> Workshop:
        """What computes; there from `bootstrap` on."""
        if self._opened is None:
            raise RuntimeError("the worker has not been bootstrapped")
        return self._opened.workshop

    @property
    def _jobs(self) -> JobsInHand:
        if self._in_hand is None:
            raise RuntimeError("the worker has not been bootstrapped")
        return self._in_hand

    @property
    def connection_timeout(self) -> int:
        """Seconds that a command may take: RQ would wait for minutes, during which nothing else is booked."""
        return 10

    # --- RQ's hooks: coming and going ---

    def bootstrap(self, *arguments: Any, **options: Any) -> None:
        """Loads the model, warms it up, and only then says that there is a worker."""
        self._opened = self._open_workshop()
        self._in_hand = JobsInHand(
            self,
            self._queue,
            self.workshop,
            ImageClaims(self.connection, self.name, self._opened.revision),
            self._trouble,
            lease_seconds=self._settings.lease_seconds,
            most=self._settings.jobs_held or 4 * self.workshop.slots,
            tell_ends=self._tell_watchers,
        )
        while not self._stop_requested:
            try:
                super().bootstrap(*arguments, **options)
                # Before anybody can see that this worker is ready, and tell it to stop: RQ's `work` does so after.
                self._install_signal_handlers()
                self._beat()
                # The queue may be back this very moment, or we be started because it is.
                self._trouble.distrust_leases()
                break
            except redis.RedisError as error:
                log.warning("the queue does not do what it is asked (%s); trying again", error)
                time.sleep(PAUSE_SECONDS)
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
            self._trouble.note(error)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """As RQ's, but a registration that lapsed and is made anew by this lapses again."""
        super().set_state(state, pipeline)
        (self.connection if pipeline is None else pipeline).expire(self.key, self._settings.lease_seconds)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """The length of a lease, in seconds."""
        return self._settings.lease_seconds

    def check_for_suspension(self, burst: bool) -> None:
        """As RQ's, but who waits to be resumed is not taken for hung, and a Redis that is away ends no worker."""
        state_before = None
        try:
            while not self._stop_requested and rq_internals.is_suspended(self):
                self._keeper.pulse()
                if burst:
                    log.info("suspended: a worker that is to end when there is no job left ends now")
                    raise StopRequested
                if state_before is None:
                    log.info("suspended; `rq resume` lets it go on")
                    state_before = self.get_state()
                    self.set_state(WorkerStatus.SUSPENDED)
                time.sleep(1)
            if state_before is not None:
                self.set_state(state_before)
        except redis.RedisError as error:
            self._trouble.note(error)

    def run_maintenance_tasks(self) -> None:
        """Recovers jobs of workers that died; not soon after trouble with Redis: all have to renew their leases."""
        silent = time.time() - self._beat_at  # not the monotonic clock, which stops when the machine sleeps
        # RQ counts in whole seconds: a lease may live for one less than it was given.
        if silent > self._settings.lease_seconds - max(self._settings.beat_seconds, 1.0):
            # We or the queue were stopped, with no error to tell of it. That long, and leases of the living lapse.
            self._trouble.distrust_leases()
        if not self._trouble.trusts_leases:
            return
        try:
            super().run_maintenance_tasks()
            if time.monotonic() >= self._next_sweep:
                self._next_sweep = time.monotonic() + _SWEEP_SECONDS
                recovery.sweep_canceled(self, self._queue)
        except redis.RedisError as error:
            self._trouble.note(error)

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
        with self._faults_counted():
            return self._wait_for_job(timeout, max_idle_time)

    def _wait_for_job(self, timeout: int | None, max_idle_time: int | None) -> tuple[Job, Queue] | None:
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
                    entry = self.connection.lmove(source, target)
                else:
                    entry = self.connection.blmove(source, target, 1)
                if entry is not None:
                    if (job := rq_internals.fetch_taken(self, self._queue, cast(bytes, entry))) is not None:
                        return job, self._queue
                    continue
            except redis.RedisError as error:  # also a queue that is full, or a replica by now
                self._trouble.note(error)
                time.sleep(PAUSE_SECONDS)
                continue
            if timeout is None or (max_idle_time is not None and time.monotonic() - idle_since > max_idle_time):
                return None
        return None

    # --- RQ's hooks: commands, in the thread of the subscription ---

    def _pubsub_exception_handler(self, exc: Exception, pubsub: PubSub, pubsub_thread: PubSubWorkerThread) -> None:
        """As RQ's, which tries again where a connection fails; but at a timeout it would never listen again."""
        if not isinstance(exc, redis.TimeoutError):
            super()._pubsub_exception_handler(exc, pubsub, pubsub_thread)
            return
        log.warning("commands cannot be heard (%s); trying again", exc)
        time.sleep(PAUSE_SECONDS)

    def handle_payload(self, message: dict[str, Any]) -> None:
        """Passes `stop-job` and `stop-execution` on to the main thread; leaves `shutdown` to RQ."""
        try:
            payload = parse_payload(message)
            command, job_id = payload["command"], payload.get("job_id")
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("a command that cannot be read was ignored")
            return
        if command in ("stop-job", "stop-execution") and isinstance(job_id, str):
            self._orders.put(job_id)
        elif command == "shutdown":
            super().handle_payload(message)

    # --- the work ---

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs this job and all that come meanwhile, until none is left or the worker has to stop."""
        self._jobs.open()
        with self._faults_counted():
            try:
                self._jobs.begin([cast(GenerationJob, job)])
                while self._jobs:
                    self._turn()
            except EngineError as error:
                log.critical("%s The jobs go back to the queue, and this worker ends.", error)
                self.exit_code = BROKEN_EXIT_CODE
                self._jobs.give_back(self._jobs.leases)
                raise StopRequested from error
            finally:
                self._jobs.look_for_others()

    @contextlib.contextmanager
    def _faults_counted(self) -> Iterator[None]:
        """RQ ends its loop at any exception as if it had been asked to: the exit code has to tell them apart."""
        try:
            yield
        except StopRequested:
            raise
        except Exception:
            self.exit_code = BROKEN_EXIT_CODE
            raise

    def _turn(self) -> None:
        """All the bookkeeping that there is to do now, beside the ticks; then waits a little for more."""
        tick = self.workshop.tick_began
        if tick is None or tick != self._tick_seen:
            self._tick_seen = tick
            self._keeper.pulse()
        self._jobs.take_in_ends()  # first of all: what has been done is not given back
        self._obey()
        self._jobs.end_late_ones()
        if self._stop_requested:
            self._drain()
        self._jobs.book()
        self._jobs.look_for_others()
        self._show_progress()
        self._show_previews()
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()
        taken = not self._stop_requested and not self._suspended and self._jobs.take(self._peers)
        if self._jobs and not taken:
            self.workshop.wait(self._poll_seconds)

    @property
    def _poll_seconds(self) -> float:
        """How often to look for jobs that wait: who comes joins at the next tick, if he was taken before its begin."""
        tick_seconds = self.workshop.slots / self._rate if self._rate else 0.0
        return min(max(tick_seconds / 4, _SHORTEST_POLL_SECONDS), _LONGEST_POLL_SECONDS)

    def _obey(self) -> None:
        """Carries out what other threads have asked for."""
        while True:
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return
            if isinstance(order, str):
                self._jobs.stop(order)
            else:
                self._jobs.lose(order)

    def _drain(self) -> None:
        """Gives back what cannot be finished in time; all the rest once the time is over."""
        asked_at = self._stop_asked_at if self._stop_asked_at is not None else time.monotonic()
        left = self._settings.drain_seconds - (time.monotonic() - asked_at)
        if self._hurry or left <= 0:
            long_over = left < -self._settings.lease_seconds
            if long_over:
                self._trouble.ask_again()
            self._jobs.give_back(self._jobs.late(0.0))
            if long_over:
                self._jobs.book()
                if self._trouble.is_recent:  # Redis has been away for long, and still is
                    self._jobs.forget_all()
        elif not self._draining:
            late = self._jobs.late(left)
            log.info("stopping: %d jobs are finished, %d go back", len(self._jobs) - len(late), len(late))
            self._draining = self._jobs.give_back(late)

    def _show_progress(self) -> None:
        moment = time.monotonic()
        if not self._board.is_due(moment) or self._trouble.is_recent:
            return
        with self._trouble.noted():
            self._board.write(self.workshop.progress(), moment)
        self.workshop.watch(self._board.watched)

    def _show_previews(self) -> None:
        previews = self.workshop.take_previews()
        if previews and not self._trouble.is_recent:
            with self._trouble.noted():  # they are of the moment: nobody wants them later
                self._board.show(previews)

    def _tell_watchers(self, job_ids: Sequence[str]) -> None:
        with self._trouble.noted():  # they look for themselves now and then
            self._board.end(job_ids)

    # --- beats, in the keeper's thread ---

    def _beat(self) -> None:
        """Renews the registration and the leases, says that this worker is ready, and looks for what concerns all."""
        opened, lease_seconds = self._opened, self._settings.lease_seconds
        if opened is None:
            return
        began = time.time()
        leases = self._in_hand.leases if self._in_hand is not None else []
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
                self._orders.put(lease)

    # --- odds and ends ---

    @property
    def _queue(self) -> GenerationQueue:
        return cast(GenerationQueue, self.queues[0])

    @property
    def _rate(self) -> float:
        return self.workshop.image_steps_per_second
