"""Samplers that cost nothing, and samplers that misbehave, each in one way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from model.noise import starting_noise
from model.schedule import Schedule
from worker.engine import Engine, Pixels
from worker.scheduler import Scheduler

SIZE = 4
SCHEDULE = Schedule()


class CountingSampler:
    """Adds one to an image for each step, so that a pixel tells how many steps it has seen, and from which noise."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def advance(self, noisy_images: Any, last_images: Any, rates: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        images = np.asarray(noisy_images)
        assert rates.shape == (rates.shape[0], len(images), 5)
        assert np.asarray(last_images).shape == images.shape
        self.batches.append(len(images))
        advanced = images + np.float32(len(rates))
        return advanced, advanced

    def to_uint8(self, pred_images: Any) -> Pixels:
        return np.clip(np.rint(np.asarray(pred_images)), 0, 255).astype(np.uint8)


class PoisonedSampler(CountingSampler):
    """Fails with every batch that holds a row of the poisoned seed."""

    def __init__(self, seed: int, error: Exception | None = None) -> None:
        super().__init__()
        self._poison = starting_noise(seed, SIZE)
        self._error = error or RuntimeError("poison")

    def advance(self, noisy_images: Any, last_images: Any, rates: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        if any(np.array_equal(image, self._poison) for image in np.asarray(noisy_images)):
            raise self._error
        return super().advance(noisy_images, last_images, rates)


class BrokenSampler(CountingSampler):
    """Computes nothing from the moment it is broken."""

    broken = False

    def advance(self, noisy_images: Any, last_images: Any, rates: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        if self.broken:
            raise RuntimeError("the device has fallen off the bus")
        return super().advance(noisy_images, last_images, rates)


class SmallDeviceSampler(CountingSampler):
    """Has no memory for more than `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = 10**6
        self._most = most

    def shrink(self) -> None:
        self.most = self._most

    def advance(self, noisy_images: Any, last_images: Any, rates: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        if len(noisy_images) > self.most:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return super().advance(noisy_images, last_images, rates)


class HeldSampler(CountingSampler):
    """Waits in each tick until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = threading.Event()
        self.hold.set()

    def advance(self, noisy_images: Any, last_images: Any, rates: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        assert self.hold.wait(10)
        return super().advance(noisy_images, last_images, rates)


def make_engine(
    sampler: CountingSampler, slot_counts: tuple[int, ...] = (1, 2, 4, 8), steps: tuple[int, ...] = (1,)
) -> Engine:
    engine = Engine(sampler, SCHEDULE, SIZE, slot_counts, steps)
    engine.warm_up()
    sampler.batches.clear()
    return engine


def make_scheduler(engine: Engine, seconds: Callable[[int], float] = lambda slots: 0.001) -> Scheduler:
    return Scheduler(engine.slot_counts, engine.step_counts, step_seconds=seconds)
