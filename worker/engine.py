"""One tick: gather the rows, advance them with one call of the network, and nothing else until it is committed.

A tick makes new arrays; only `commit` lets them take the place of the old ones. So a tick that fails, or is thrown
away, leaves no trace. The engine needs no Redis and no RQ: benchmarks and tests drive it by hand, with a Scheduler.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from model.classes import with_class_weights
from model.schedule import STANDING_STILL, Schedule
from worker.protocol import SamplerName
from worker.scheduler import Tick
from worker.slot_array import Canvas, Parked, SlotArray, fresh_canvas
from worker.starting_noises import StartingNoises
from worker.told_classes import ToldClasses
from worker.trajectory import ImageKey, Trajectory

Tensor = Any
Pixels = npt.NDArray[np.uint8]
_OWN_IMAGE = ImageKey(seed=0, steps=1)
_MEASUREMENTS = 3
_MEASURING_SECONDS = 0.25
_NOISES_A_SLOT = 4


class EngineError(Exception):
    """The engine itself is broken: even its own test image fails. Nothing it was given is to blame."""


class AdvancingSampler(Protocol):
    """What the engine needs of `model.sampling.Sampler`."""

    def advance(
        self, noisy_images: Tensor, last_images: Tensor, rates: npt.NDArray[np.float32]
    ) -> tuple[Tensor, Tensor]: ...

    def to_uint8(self, pred_images: Tensor) -> Pixels: ...


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """A trajectory that cannot be computed, and why. Its mates went on without it."""

    trajectory: Trajectory
    error: Exception


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a tick computed, not yet committed.

    `canvas` holds float32 [slots, s, s, 3] of the backend; rows of empty slots mean nothing.
    """

    tick: Tick
    canvas: Canvas
    parked: Parked
    """The canvases of those that lost their slot in this tick."""
    failures: tuple[Failure, ...]
    seconds: float
    out_of_memory: bool = False
    """Whether the device could not hold the batch, so that its rows were done one by one."""


class Engine:
    """Advances the trajectories of a tick, each in its slot.

    `run` may be called from another thread than the rest, but never while another `run` or `commit` goes on.
    """

    def __init__(
        self,
        sampler: AdvancingSampler,
        schedule: Schedule,
        image_size: int,
        slot_counts: Sequence[int],
        step_counts: Sequence[int] = (1,),
        class_counts: Sequence[int] = (),
        class_names: Sequence[str] = (),
    ) -> None:
        """Makes an engine with empty slots; nothing is compiled before `warm_up`.

        Args:
            sampler: advances images; see AdvancingSampler.
            schedule: gives each step's rates.
            image_size: side of the images in pixels.
            slot_counts: batch sizes to compile.
            step_counts: numbers of steps a tick may have; 1 must be among them.
            class_counts: of the bundle; by them each image's class is drawn, which the network is told.
            class_names: of the bundle; by them images ask for a class.
        """
        self._sampler = sampler
        self._schedule = schedule
        self._image_size = image_size
        self.slot_counts = tuple(sorted(slot_counts))
        self.step_counts = tuple(sorted(step_counts))
        self._noises = StartingNoises(image_size, _NOISES_A_SLOT * self.slot_counts[-1])
        self._array = SlotArray(image_size, self.slot_counts, self._noises)
        self._rates: dict[tuple[int, SamplerName], npt.NDArray[np.float32]] = {}
        self._told_classes = ToldClasses(class_counts, class_names)
        # Any other step, taken again and again, would let the numbers of an empty slot grow until they are none.
        self._still = with_class_weights(np.array(STANDING_STILL, np.float32), np.zeros(len(class_counts), np.float32))
        self._step_seconds: dict[int, float] = {}

    def warm_up(self) -> dict[int, float]:
        """Compiles every batch size and measures it; returns slot count -> seconds a step.

        Raises:
            EngineError: not even an image of the engine's own can be computed.
        """
        for slot_count in self.slot_counts:
            canvas = self._own_canvas(slot_count)
            for steps in self.step_counts:
                rows = self._rows_of(ImageKey(_OWN_IMAGE.seed, steps), 0, steps)
                rates = np.repeat(rows[:, None], slot_count, axis=1)
                try:
                    _wait(*self._sampler.advance(*canvas, rates))
                    seconds = self._least_time_of(canvas, rates)
                except Exception as error:
                    raise EngineError(f"The network fails at {slot_count} images and {steps} steps: {error}") from error
                self._step_seconds[slot_count] = seconds / steps
        self._array.compile()
        return dict(self._step_seconds)

    def _least_time_of(self, canvas: Canvas, rates: npt.NDArray[np.float32]) -> float:
        """Seconds that one call of the network takes: the least of a few, and of fewer where they are long."""
        times: list[float] = []
        while len(times) < _MEASUREMENTS and sum(times) < _MEASURING_SECONDS:
            started = time.perf_counter()
            _wait(*self._sampler.advance(*canvas, rates))
            times.append(time.perf_counter() - started)
        return min(times)

    def _own_canvas(self, count: int) -> Canvas:
        """An image of the engine's own, so many times."""
        return Canvas(*(np.stack([image] * count) for image in fresh_canvas(_OWN_IMAGE, self._image_size)))

    def step_seconds(self, slot_count: int) -> float:
        """Measured seconds a step at a slot count, the last ticks counting most; 0 before `warm_up`."""
        return self._step_seconds.get(slot_count, 0.0)

    def prepare(self, key: ImageKey) -> None:
        """Draws what an image begins with, so that its first tick need not. Safe to call from any thread."""
        self._noises.prepare(key)

    def run(self, tick: Tick) -> Outcome:
        """Computes a tick. Whatever happens, the engine is as before until `commit`.

        If the batch fails, its rows are tried one by one, and only those that fail alone are in `failures`.

        Raises:
            EngineError: rows fail, and so does an image of the engine's own: the fault is not in the rows.
        """
        started = time.perf_counter()
        parked = self._array.leaving(tick.rows)
        rates = self._tick_rates(tick)
        try:
            canvas = Canvas(*self._sampler.advance(*self._array.arrange(tick.rows), rates))
            _wait(*canvas)
        except Exception as error:  # whatever the backend raises
            canvas, failures = self._advance_one_by_one(tick, rates, error)
            seconds = time.perf_counter() - started
            return Outcome(tick, canvas, parked, failures, seconds, is_out_of_memory(error))
        return Outcome(tick, canvas, parked, (), time.perf_counter() - started)

    def commit(self, outcome: Outcome) -> None:
        """Makes a tick's outcome the state of the slots; the scheduler's `commit` of the same tick comes next."""
        failed = [failure.trajectory for failure in outcome.failures]
        self._array.replace(outcome.canvas, outcome.tick.rows, outcome.parked, without=failed)
        if not outcome.failures and not outcome.out_of_memory:
            slot_count = len(outcome.tick.rows)
            seconds = outcome.seconds / outcome.tick.steps
            self._step_seconds[slot_count] = 0.9 * self._step_seconds.get(slot_count, seconds) + 0.1 * seconds

    def pixels(self, outcome: Outcome, trajectories: Iterable[Trajectory]) -> list[Pixels]:
        """The images of some of an outcome's trajectories, as predicted in their last step: uint8 [s, s, 3] each.

        Safe to call from another thread while the next tick runs.
        """
        slots = {row: slot for slot, row in enumerate(outcome.tick.rows) if row is not None}
        wanted = np.array([slots[trajectory] for trajectory in trajectories], np.intp)
        return list(self._sampler.to_uint8(keras.ops.convert_to_numpy(outcome.canvas.predicted)[wanted]))

    def _tick_rates(self, tick: Tick) -> npt.NDArray[np.float32]:
        """Each row's own: [steps, slots, 5 + classes]. Those of empty slots leave what is there as it is."""
        rates = np.empty((tick.steps, len(tick.rows), len(self._still)), np.float32)
        for slot, row in enumerate(tick.rows):
            rates[:, slot] = self._still if row is None else self._rows_of(row.key, row.position, tick.steps)
        return rates

    def _rows_of(self, key: ImageKey, position: int, steps: int) -> npt.NDArray[np.float32]:
        """What so many steps of an image need, from a position on: [steps, 5 + classes]."""
        if (whole := self._rates.get((key.steps, key.sampler))) is None:
            whole = self._rates[key.steps, key.sampler] = self._schedule.step_rates(key.steps, key.sampler)
        return with_class_weights(whole[position : position + steps], self._told_classes.of(key))

    def _advance_one_by_one(
        self, tick: Tick, rates: npt.NDArray[np.float32], cause: Exception
    ) -> tuple[Canvas, tuple[Failure, ...]]:
        """Advances the rows of a batch that failed, each alone; returns their canvas, and those that fail alone too."""
        shape = (len(tick.rows), self._image_size, self._image_size, 3)
        canvas = Canvas(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        failures = []
        for slot, row in enumerate(tick.rows):
            if row is not None:
                try:
                    alone = self._advance_alone(self._array.canvas_of(row), rates[:, slot])
                    canvas.noisy[slot], canvas.predicted[slot] = alone
                except Exception as error:  # whatever the backend raises
                    failures.append(Failure(row, error))
        if failures:
            try:
                self._advance_alone(fresh_canvas(_OWN_IMAGE, self._image_size), self._rows_of(_OWN_IMAGE, 0, 1))
            except Exception as error:
                raise EngineError(f"The network computes nothing any more: {error}") from cause
        return Canvas(*map(keras.ops.convert_to_tensor, canvas)), tuple(failures)

    def _advance_alone(self, canvas: Canvas, rates: npt.NDArray[np.float32]) -> Canvas:
        """The canvas of one image [s, s, 3] with its rows [steps, 5 + classes], in the smallest compiled batch."""
        slot_count = self.slot_counts[0]
        images = Canvas(*(np.repeat(image[None], slot_count, axis=0) for image in canvas))
        advanced = self._sampler.advance(*images, np.repeat(rates[:, None], slot_count, axis=1))
        return Canvas(*(keras.ops.convert_to_numpy(array)[0] for array in advanced))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a backend says that its device has no memory left (TensorFlow's error class, XLA's status name)."""
    return type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in str(error)


def _wait(*images: Tensor) -> None:
    """Returns when the device is done with the images, and raises what went wrong there."""
    for image in images:
        if (block_until_ready := getattr(image, "block_until_ready", None)) is not None:
            block_until_ready()
        elif "GPU" in getattr(image, "device", ""):
            keras.ops.convert_to_numpy(image[0, 0, 0])
