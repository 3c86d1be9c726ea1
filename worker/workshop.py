"""What happens to a request between its start and its end: looked up, computed in slots, encoded, stored.

Knows nothing of RQ or Redis. A thread of the workshop's own runs tick after tick, from `start` to `close`, and does
nothing else: whoever enters and cancels jobs and books their ends does so beside the ticks, from one other thread.
Images are looked up, encoded and stored in further threads. Benchmarks and tests may drive the ticks by hand instead:

    workshop.enter(job_id, request)
    while workshop.busy:
        workshop.turn(0.1)
        for end in workshop.take_ends(): ...
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Collection, Iterable

from worker.engine import Engine, EngineError, Failure, Outcome
from worker.image_writer import ImageWriter, LookedUp, NotStored, ServedBundle, Shown, Stored, WriterEvent
from worker.metrics import WorkerMetrics
from worker.order_book import Failed, JobEnd, Order, OrderBook
from worker.previews import PreviewPlan
from worker.protocol import FailureReason, GenerationRequest, ImageRecord, Preview, Progress
from worker.scheduler import Scheduler, Tick
from worker.store import ImageStore
from worker.trajectory import ImageKey

log = logging.getLogger(__name__)


class Workshop:
    """Takes requests in, and gives their ends out.

    An image that is in the store already is not computed; one that several jobs want is computed once. All methods may
    be called while a tick runs: what they share with it is under one lock, which the tick's computation does not hold.
    """

    def __init__(
        self,
        engine: Engine,
        scheduler: Scheduler,
        store: ImageStore,
        bundle: ServedBundle,
        *,
        store_patience: float = 5.0,
    ) -> None:
        self.metrics = WorkerMetrics()
        self._engine = engine
        self._scheduler = scheduler
        self.bundle = bundle
        """What images are made with; it never changes."""
        self._book = OrderBook(bundle.revision)
        self._writer = ImageWriter(store, bundle, patience=store_patience, report=self._handle, prepare=engine.prepare)
        self._changed = threading.Condition()
        """Holds all that follows; notified when there may be something to compute."""
        self._being_stored: dict[ImageKey, set[str]] = {}
        self._made_elsewhere: set[ImageKey] = set()
        self._ends: list[JobEnd] = []
        self._plan = PreviewPlan()
        self._encoding_previews = False
        self._previews: list[tuple[str, Preview]] = []
        self._tick_began: float | None = None
        self._trouble: Exception | None = None
        self._closing = False
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run_ticks, name="tick", daemon=True)

    def start(self) -> None:
        """Has the ticks run by a thread, until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Ends the threads, after the tick that runs."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.close()
        if self._thread.is_alive():
            self._thread.join()

    # --- what is asked from outside ---

    @property
    def busy(self) -> bool:
        """Whether there are jobs whose end has not been given out."""
        with self._changed:
            return bool(self._book or self._ends or self._tick_began is not None)

    @property
    def tick_began(self) -> float | None:
        """When the tick that runs was begun, on `time.monotonic`; None if none runs."""
        return self._tick_began

    @property
    def waiting(self) -> int:
        """Images that have no slot though they want one."""
        with self._changed:
            return max(0, len(self._scheduler.trajectories) - self._scheduler.slots)

    @property
    def slots(self) -> int:
        return self._scheduler.slots

    @property
    def image_steps_per_second(self) -> float:
        """The measured rate with all slots taken."""
        seconds = self._engine.step_seconds(self._scheduler.slots)
        return self._scheduler.slots / seconds if seconds > 0 else 0.0

    def enter(self, job_id: str, request: GenerationRequest, made_elsewhere: Collection[ImageKey] = ()) -> None:
        """Takes a job in. Raises ValueError if it is here already.

        What is in `made_elsewhere` is looked up, but not computed before `make_here`: somebody else is at it.
        """
        with self._changed:
            keys = self._book.open(job_id, request)
            computed = {trajectory.key for trajectory in self._scheduler.trajectories} if made_elsewhere else set()
            self._made_elsewhere.update(key for key in made_elsewhere if key not in computed)
            self._writer.look_up(job_id, keys)

    def cancel(self, job_id: str) -> None:
        """Lets a job go; its slots are free from the next tick on. No error if it is not here."""
        with self._changed:
            self._book.drop(job_id)
            self._scheduler.cancel(job_id)

    def make_here(self, keys: Iterable[ImageKey]) -> None:
        """Computes images that somebody else was to make, unless they are in the store now."""
        with self._changed:
            here = self._made_elsewhere.intersection(keys)
            self._made_elsewhere -= here
            for job_id in {job_id for key in here for job_id in self._book.wanting(key)}:
                self._writer.look_up(job_id, sorted(here & self._book.orders[job_id].wanted))

    def made_elsewhere(self) -> set[ImageKey]:
        """The images that jobs here wait for, and that are left to somebody else."""
        with self._changed:
            self._made_elsewhere.intersection_update(self._book.wanted)
            return set(self._made_elsewhere)

    def images_in_hand(self) -> set[ImageKey]:
        """The images that jobs here wait for, or that are being stored."""
        with self._changed:
            return {*self._book.wanted, *self._being_stored}

    def remaining_image_steps(self, job_id: str) -> int:
        """Image-steps that a job still waits for; 0 if it is not here."""
        with self._changed:
            order = self._book.orders.get(job_id)
            return 0 if order is None else self._remaining(job_id, order)

    def waiting_for_slots(self) -> set[str]:
        """Jobs with images to compute, none of which has a slot."""
        with self._changed:
            return self._scheduler.waiting_jobs

    def progress(self) -> dict[str, Progress]:
        """How far each job is."""
        with self._changed:
            return {
                job_id: Progress(order.request.image_steps - self._remaining(job_id, order), len(order.records))
                for job_id, order in self._book.orders.items()
            }

    def watch(self, job_ids: Iterable[str]) -> None:
        """Makes previews of these jobs and of no others from now on; ids of jobs that are not here do no harm."""
        with self._changed:
            for job_id in self._plan.watch(self._book.orders.keys() & set(job_ids)):
                for key in self._book.orders[job_id].records:
                    self._plan.finish(job_id, key)

    def take_previews(self) -> list[tuple[str, Preview]]:
        """The previews made since the last call, with the ids of their jobs, all of which are still here."""
        if not self._previews:
            return []
        with self._changed:
            previews, self._previews = self._previews, []
            return [(job_id, preview) for job_id, preview in previews if job_id in self._book]

    def take_ends(self) -> list[JobEnd]:
        """The jobs that have ended since the last call.

        Raises:
            EngineError: the engine is broken; the jobs are as before the tick.
        """
        if isinstance(self._trouble, EngineError):
            raise self._trouble
        if self._trouble is not None:
            raise EngineError(f"The workshop is broken: {self._trouble}") from self._trouble
        with self._changed:
            ends, self._ends = self._ends, []
            return ends

    def wait(self, seconds: float) -> bool:
        """Waits until jobs have ended, previews are there or the engine is broken; returns whether that is so."""
        happened = self._news.wait(seconds)
        self._news.clear()
        return happened

    # --- the ticks ---

    def turn(self, seconds: float | None = None) -> bool:
        """Runs a tick, in the thread that calls; returns whether there was one.

        If there is nothing to compute, waits for something, at most so long (None: for ever), or for `close`.

        Raises:
            EngineError: the engine is broken; the jobs are as before the tick.
        """
        with self._changed:
            if (tick := self._next_tick(seconds)) is None:
                return False
            self._tick_began = time.monotonic()
        try:
            outcome = self._engine.run(tick)
            with self._changed:
                self._commit(outcome)
        finally:
            self._tick_began = None
        return True

    def _run_ticks(self) -> None:
        try:
            while not self._closing:
                self.turn()
        except Exception as error:
            if not isinstance(error, EngineError):
                log.exception("a tick failed for a reason that was not foreseen")
            self._break(error)

    def _break(self, error: Exception) -> None:
        self._trouble = error
        self._news.set()

    def _next_tick(self, seconds: float | None) -> Tick | None:
        """What is to be done; waits for it if there is nothing. None after so many seconds, or with `close`."""
        gives_up = None if seconds is None else time.monotonic() + seconds
        while not self._closing:
            if (tick := self._scheduler.plan()) is not None:
                return tick
            left = None if gives_up is None else gives_up - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._changed.wait(left)
        return None

    def _commit(self, outcome: Outcome) -> None:
        self.metrics.tick(outcome.seconds, outcome.tick.steps, self.slots, outcome.tick.trajectories)
        for failure in outcome.failures:
            self._fail_trajectory(failure)
        if outcome.out_of_memory:
            self._scheduler.limit_slots(len(outcome.tick.rows) // 2)
            log.error("the device has not the memory for %d images; %d from now on", len(outcome.tick.rows), self.slots)
        self._engine.commit(outcome)
        finished = self._scheduler.commit(outcome.tick)
        if finished:
            keys = [trajectory.key for trajectory in finished]
            self._being_stored.update({key: set(self._book.wanting(key)) for key in keys})
            self._writer.write(keys, lambda: self._engine.pixels(outcome, finished))
        if not self._plan.is_idle and not self._encoding_previews:
            self._show(outcome)

    def _show(self, outcome: Outcome) -> None:
        """Has previews made; the next ones only when these are done, however slow that is."""
        failed = {failure.trajectory for failure in outcome.failures}
        advanced = [trajectory for trajectory in outcome.tick.trajectories if trajectory not in failed]
        if shots := self._plan.choose(advanced, time.monotonic()):
            shown = [shot.trajectory for shot in shots if shot.trajectory is not None]
            self._encoding_previews = True
            self._writer.show(shots, lambda: self._engine.pixels(outcome, shown) if shown else [])

    def _fail_trajectory(self, failure: Failure) -> None:
        key, error = failure.trajectory.key, failure.error
        reason = FailureReason(
            "computation-failed",
            f"The image of seed {key.origin} at {key.steps} steps cannot be computed: {type(error).__name__}: {error}",
        )
        text = "".join(traceback.format_exception(error))
        for job_id in self._book.wanting(key):
            self._fail(job_id, reason, text)

    def _fail(self, job_id: str, reason: FailureReason, text: str = "") -> None:
        self._book.drop(job_id)
        self._scheduler.cancel(job_id)
        self._end(Failed(job_id, reason, text))

    def _end(self, end: JobEnd) -> None:
        self._ends.append(end)
        self._news.set()

    # --- what the image writer reports, in its threads ---

    def _handle(self, event: WriterEvent) -> None:
        try:
            with self._changed:
                self._take_up(event)
        except Exception as error:  # nobody else would hear of it
            log.exception("what the image writer reports cannot be booked")
            self._break(error)

    def _take_up(self, event: WriterEvent) -> None:
        match event:
            case LookedUp(job_id, keys, found):
                self._compute_what_is_missing(job_id, keys, found)
            case Stored(key, record):
                self.metrics.image_made()
                self._being_stored.pop(key, None)
                for job_id in self._book.wanting(key):
                    self._deliver(job_id, key, record)
            case NotStored(key, code, detail):
                given_for = self._being_stored.pop(key, set())
                for job_id in self._book.wanting(key):
                    if job_id in given_for:
                        self._fail(job_id, FailureReason(code, detail))
                    elif self._book.orders[job_id].looked_up:  # it came later, and has a try of its own
                        self._compute(job_id, [key])
            case Shown(previews):
                self._encoding_previews = False
                self._previews.extend(previews)
                self._news.set()

    def _compute_what_is_missing(
        self, job_id: str, keys: Collection[ImageKey], found: dict[ImageKey, ImageRecord]
    ) -> None:
        if (order := self._book.orders.get(job_id)) is None:
            return
        order.looked_up = True
        # What was stored while the look-up was on its way has been delivered; what is being stored will be.
        missing = [
            key
            for key in sorted(order.wanted.intersection(keys))
            if key not in found and key not in self._being_stored and key not in self._made_elsewhere
        ]
        if missing:
            self._compute(job_id, missing)
        self.metrics.found(len(found.keys() & order.wanted))
        for key in sorted(found.keys() & order.wanted):
            self._deliver(job_id, key, found[key])

    def _compute(self, job_id: str, keys: Iterable[ImageKey]) -> None:
        self._scheduler.enter(job_id, keys)
        self._changed.notify_all()

    def _deliver(self, job_id: str, key: ImageKey, record: ImageRecord) -> None:
        self._plan.finish(job_id, key)
        if (succeeded := self._book.deliver(job_id, key, record)) is not None:
            self._scheduler.cancel(job_id)
            self._end(succeeded)

    def _remaining(self, job_id: str, order: Order) -> int:
        if not order.looked_up:
            return order.request.image_steps
        elsewhere = sum(key.last_step for key in self._made_elsewhere & order.wanted) if self._made_elsewhere else 0
        return self._scheduler.remaining_of(job_id) + elsewhere
