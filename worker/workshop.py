"""What happens to a request between its start and its end: looked up, computed in slots, encoded, stored.

Knows nothing of RQ or Redis, so that benchmarks and tests can drive the whole of it by hand:

    workshop.enter(job_id, request)
    while workshop.busy:
        workshop.begin_tick()
        workshop.wait(0.1)          # other work may be done while the tick runs
        for end in workshop.end_tick(): ...

All methods are called from one thread; the ticks run in a second one, images are written in others.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from worker.engine import Engine, Failure, Outcome
from worker.image_writer import ImageWriter, LookedUp, NotStored, ServedBundle, Shown, Stored, WriterEvent
from worker.previews import PreviewPlan
from worker.protocol import FailureReason, GenerationRequest, GenerationResult, ImageRecord, Preview, Progress
from worker.scheduler import Scheduler
from worker.store import ImageStore
from worker.trajectory import ImageKey

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Succeeded:
    """All images of a job are in the store."""

    job_id: str
    result: GenerationResult


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """A job cannot be done. `text` may hold a traceback."""

    job_id: str
    reason: FailureReason
    text: str = ""


JobEnd = Succeeded | Failed


@dataclasses.dataclass(slots=True)
class _Order:
    """A job in the workshop. `wanted` and the keys of `records` are its images, none in both."""

    request: GenerationRequest
    wanted: set[ImageKey]
    began: float
    looked_up: bool = False
    records: dict[ImageKey, ImageRecord] = dataclasses.field(default_factory=dict)


class Workshop:
    """Takes requests in, and gives their ends out.

    An image that is in the store already is not computed; one that several jobs want is computed once.
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
        self._engine = engine
        self._scheduler = scheduler
        self._bundle = bundle
        # Not a SimpleQueue: its `get` can wait for ever when a signal arrives as its timeout ends (CPython 3.11).
        self._events: queue.Queue[WriterEvent | None] = queue.Queue()
        self._writer = ImageWriter(store, bundle, patience=store_patience, events=self._events)
        self._ticker = ThreadPoolExecutor(1, thread_name_prefix="tick")
        self._tick: Future[Outcome] | None = None
        self._tick_began: float | None = None
        self._orders: dict[str, _Order] = {}
        self._wanted_by: dict[ImageKey, set[str]] = {}
        self._being_stored: dict[ImageKey, set[str]] = {}
        self._ends: list[JobEnd] = []
        self._plan = PreviewPlan()
        self._encoding_previews = False
        self._previews: list[tuple[str, Preview]] = []

    @property
    def busy(self) -> bool:
        """Whether there are jobs whose end has not been given out."""
        return bool(self._orders or self._ends or self._tick)

    @property
    def tick_began(self) -> float | None:
        """When the tick that runs was begun, on `time.monotonic`; None if none runs. May be read by any thread."""
        return self._tick_began

    @property
    def waiting(self) -> int:
        """Images that have no slot though they want one."""
        return max(0, len(self._scheduler.trajectories) - self._scheduler.slots)

    @property
    def slots(self) -> int:
        return self._scheduler.slots

    @property
    def image_steps_per_second(self) -> float:
        """The measured rate with all slots taken."""
        seconds = self._engine.step_seconds(self._scheduler.slots)
        return self._scheduler.slots / seconds if seconds > 0 else 0.0

    def enter(self, job_id: str, request: GenerationRequest) -> None:
        """Takes a job in. Raises ValueError if it is here already."""
        if job_id in self._orders:
            raise ValueError(f"job {job_id} is here already")
        keys = [ImageKey(seed, request.steps, request.sampler) for seed in request.image_seeds]
        self._orders[job_id] = _Order(request, set(keys), time.monotonic())
        for key in keys:
            self._wanted_by.setdefault(key, set()).add(job_id)
        self._writer.look_up(job_id, keys)

    def cancel(self, job_id: str) -> None:
        """Lets a job go; its slots are free from the next tick on. No error if it is not here."""
        if (order := self._orders.pop(job_id, None)) is None:
            return
        self._scheduler.cancel(job_id)
        for key in order.wanted:
            self._wanted_by[key].discard(job_id)
            if not self._wanted_by[key]:
                del self._wanted_by[key]

    def remaining_image_steps(self, job_id: str) -> int:
        """Image-steps that a job still waits for; 0 if it is not here."""
        if (order := self._orders.get(job_id)) is None:
            return 0
        return self._scheduler.remaining_of(job_id) if order.looked_up else order.request.image_steps

    def progress(self) -> dict[str, Progress]:
        """How far each job is."""
        return {
            job_id: Progress(order.request.image_steps - self.remaining_image_steps(job_id), len(order.records))
            for job_id, order in self._orders.items()
        }

    def watch(self, job_ids: Iterable[str]) -> None:
        """Makes previews of these jobs and of no others from now on; ids of jobs that are not here do no harm."""
        for job_id in self._plan.watch(self._orders.keys() & set(job_ids)):
            for key in self._orders[job_id].records:
                self._plan.finish(job_id, key)

    def take_previews(self) -> list[tuple[str, Preview]]:
        """The previews made since the last call, with the ids of their jobs, all of which are still here."""
        previews, self._previews = self._previews, []
        return [(job_id, preview) for job_id, preview in previews if job_id in self._orders]

    def begin_tick(self) -> bool:
        """Begins the next tick, if none runs and there is something to compute; returns whether one runs."""
        self._handle_events()
        if self._tick is None and (tick := self._scheduler.plan()) is not None:
            self._tick_began = time.monotonic()
            self._tick = self._ticker.submit(self._engine.run, tick)
            self._tick.add_done_callback(lambda _: self._events.put(None))
        return self._tick is not None

    def wait(self, seconds: float) -> bool:
        """Waits until something has happened, at most so long; returns whether `end_tick` has something to do."""
        if self._tick is not None and self._tick.done():
            return True
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return False
        if event is not None:
            self._handle(event)
        return True

    def end_tick(self) -> list[JobEnd]:
        """Books the tick if it is done, and all that was stored meanwhile; returns the jobs that have ended.

        Raises:
            EngineError: the engine is broken; the jobs are as before the tick.
        """
        if self._tick is not None and self._tick.done():
            done, self._tick, self._tick_began = self._tick, None, None
            self._book(done.result())
        self._handle_events()
        ends, self._ends = self._ends, []
        return ends

    def close(self) -> None:
        """Ends the threads, after the tick that runs."""
        self._writer.close()
        self._ticker.shutdown()

    def _book(self, outcome: Outcome) -> None:
        for failure in outcome.failures:
            self._fail_trajectory(failure)
        if outcome.out_of_memory:
            self._scheduler.limit_slots(len(outcome.tick.rows) // 2)
            log.error("the device has not the memory for %d images; %d from now on", len(outcome.tick.rows), self.slots)
        self._engine.commit(outcome)
        finished = self._scheduler.commit(outcome.tick)
        if finished:
            keys = [trajectory.key for trajectory in finished]
            self._being_stored.update({key: set(self._wanted_by.get(key, ())) for key in keys})
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
            f"The image of seed {key.seed} at {key.steps} steps cannot be computed: {type(error).__name__}: {error}",
        )
        text = "".join(traceback.format_exception(error))
        for job_id in sorted(self._wanted_by.get(key, ())):
            self._fail(job_id, reason, text)

    def _fail(self, job_id: str, reason: FailureReason, text: str = "") -> None:
        self.cancel(job_id)
        self._ends.append(Failed(job_id, reason, text))

    def _handle_events(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            if event is not None:
                self._handle(event)

    def _handle(self, event: WriterEvent) -> None:
        match event:
            case LookedUp(job_id, found):
                self._compute_what_is_missing(job_id, found)
            case Stored(key, record):
                self._being_stored.pop(key, None)
                for job_id in sorted(self._wanted_by.get(key, ())):
                    self._deliver(job_id, key, record)
            case NotStored(key, code, detail):
                given_for = self._being_stored.pop(key, set())
                for job_id in sorted(self._wanted_by.get(key, ())):
                    if job_id in given_for:
                        self._fail(job_id, FailureReason(code, detail))
                    elif self._orders[job_id].looked_up:  # it came later, and has a try of its own
                        self._scheduler.enter(job_id, [key])
            case Shown(previews):
                self._encoding_previews = False
                self._previews.extend(previews)

    def _compute_what_is_missing(self, job_id: str, found: dict[ImageKey, ImageRecord]) -> None:
        if (order := self._orders.get(job_id)) is None or order.looked_up:
            return
        order.looked_up = True
        # What was stored while the look-up was on its way has been delivered; what is being stored will be.
        missing = [key for key in sorted(order.wanted) if key not in found and key not in self._being_stored]
        if missing:
            self._scheduler.enter(job_id, missing)
        for key in sorted(found.keys() & order.wanted):
            self._deliver(job_id, key, found[key])

    def _deliver(self, job_id: str, key: ImageKey, record: ImageRecord) -> None:
        order = self._orders[job_id]
        order.wanted.discard(key)
        order.records[key] = record
        self._plan.finish(job_id, key)
        self._wanted_by[key].discard(job_id)
        if not self._wanted_by[key]:
            del self._wanted_by[key]
        if not order.wanted:
            del self._orders[job_id]
            self._scheduler.cancel(job_id)
            images = tuple(order.records[key] for key in sorted(order.records))
            seconds = time.monotonic() - order.began
            self._ends.append(Succeeded(job_id, GenerationResult(self._bundle.revision, images, round(seconds, 6))))
