"""In what order a run sees its photos: a pure function of (seed, step), so that a resumed run goes on where it was."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt


class PhotoOrder:
    """An epoch is all photos ``repetitions`` times, each time shuffled anew; what fills no batch is dropped."""

    def __init__(self, photos: int, batch_size: int, repetitions: int, seed: int) -> None:
        if photos * repetitions < batch_size:
            raise ValueError(
                f"{photos} training photos, {repetitions} times an epoch, do not fill one batch of {batch_size}; "
                "add photos, or train with a smaller --batch-size"
            )
        self.steps_per_epoch = photos * repetitions // batch_size
        self._photos, self._batch_size, self._repetitions, self._seed = photos, batch_size, repetitions, seed
        # The order of one epoch is some hundred kilobytes, and steps come in sequence.
        self._epoch_rows = functools.lru_cache(maxsize=2)(self._shuffled_epoch)

    def rows(self, step: int, count: int) -> npt.NDArray[np.int32]:
        """The photos of ``count`` steps from ``step`` (of the whole run) on: int32 [count, batch]."""
        return np.stack([self._batch(number) for number in range(step, step + count)])

    def _batch(self, step: int) -> npt.NDArray[np.int32]:
        epoch, position = divmod(step, self.steps_per_epoch)
        start = position * self._batch_size
        return self._epoch_rows(epoch)[start : start + self._batch_size]

    def _shuffled_epoch(self, epoch: int) -> npt.NDArray[np.int32]:
        random = np.random.Generator(np.random.Philox(key=np.array([self._seed, epoch], np.uint64)))
        return np.concatenate([random.permutation(self._photos) for _ in range(self._repetitions)]).astype(np.int32)
