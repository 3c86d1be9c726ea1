"""Draws the noise that images begin with, in time: beside the ticks, so that no tick has to wait for it.

Drawing takes half a millisecond an image: nothing beside a step on two CPU cores, and much beside one on a GPU.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import numpy as np
import numpy.typing as npt

from model.noise import noise_between, starting_noise
from worker.protocol import ImageKey

Noise = npt.NDArray[np.float32]

_STALE_SECONDS: Final = 60.0


class StartingNoises:
    """Noise that has been drawn and not been taken yet. Any thread may call any method."""

    def __init__(self, image_size: int, most: int) -> None:
        """Makes an empty one.

        Args:
            image_size: side of the images in pixels.
            most: how many are kept. What finds no place is drawn when it is taken.
        """
        self._image_size = image_size
        self._most = most
        self._drawn: dict[ImageKey, tuple[Noise, float]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._drawn)

    def prepare(self, key: ImageKey) -> None:
        """Draws what an image begins with, if that has not been done and there is a place for it."""
        if key not in self._drawn and self._make_room():
            noise = draw(key, self._image_size)
            with self._lock:
                self._drawn[key] = noise, time.monotonic()

    def take(self, key: ImageKey) -> Noise:
        """What an image begins with: float32 [s, s, 3]. It is kept here no longer."""
        with self._lock:
            drawn = self._drawn.pop(key, None)
        return draw(key, self._image_size) if drawn is None else drawn[0]

    def _make_room(self) -> bool:
        """Whether there is a place; that of one that nobody has taken for long, if there is no other."""
        with self._lock:
            if len(self._drawn) >= self._most:
                oldest = next(iter(self._drawn))
                if time.monotonic() - self._drawn[oldest][1] > _STALE_SECONDS:
                    del self._drawn[oldest]
            return len(self._drawn) < self._most


def draw(key: ImageKey, image_size: int) -> Noise:
    """The noise of an image's seed, or between two seeds: float32 [s, s, 3]."""
    if key.part:
        return noise_between(key.seed, key.toward, key.part, key.parts, image_size)
    return starting_noise(key.seed, image_size)
