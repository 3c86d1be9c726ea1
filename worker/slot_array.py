"""The noisy images of all trajectories that have begun: those with a slot on the device, parked ones on the host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.noise import starting_noise
from worker.trajectory import Trajectory

Tensor = Any
Image = npt.NDArray[np.float32]
Parked = dict[Trajectory, Image]
Rows = Sequence[Trajectory | None]


class SlotArray:
    """Gives a tick the images of its rows, wherever they are, and takes them back.

    `arrange` and `leaving` change nothing; `replace` is the one commit. Images are float32 [s, s, 3], arrays of them
    [slots, s, s, 3]. They are held by trajectory and not by what the image is of: one that was canceled and asked for
    anew begins from its noise.
    """

    def __init__(self, image_size: int, slot_counts: Sequence[int]) -> None:
        self._image_size = image_size
        self._slot_counts = tuple(slot_counts)
        self._images: Tensor = None
        self._held = 0
        self._slots: dict[Trajectory, int] = {}
        self._parked: Parked = {}

    def compile(self) -> None:
        """Lets JAX compile every way in which rows can move: it compiles single operations for each shape too."""
        if keras.backend.backend() != "jax":
            return
        sides = (self._image_size, self._image_size, 3)
        arrays = {count: keras.ops.zeros((count, *sides), "float32") for count in self._slot_counts}
        for held in self._slot_counts:
            for count in self._slot_counts:
                order = np.zeros(count, np.int32)
                keras.ops.take(arrays[held], order, axis=0)
                for joining in self._slot_counts:
                    keras.ops.take(keras.ops.concatenate([arrays[held], arrays[joining]], axis=0), order, axis=0)

    def arrange(self, rows: Rows) -> Tensor:
        """The images of the rows, in their order; on the device already, or brought there. Empty rows hold anything."""
        sources = [self._slots.get(row) if row is not None else None for row in rows]
        stay = all(row is None or source == slot for slot, (row, source) in enumerate(zip(rows, sources, strict=True)))
        if stay and self._held == len(rows):
            return self._images
        joining = [slot for slot, row in enumerate(rows) if row is not None and sources[slot] is None]
        if all(source is None for source in sources):
            return keras.ops.convert_to_tensor(self._on_host(rows))
        order = np.array([source or 0 for source in sources], np.int32)
        if not joining:
            return keras.ops.take(self._images, order, axis=0)
        # Newcomers come in an array of a compiled size too, so that no shape is compiled for them alone.
        size = next(count for count in self._slot_counts if count >= len(joining))
        arrivals = self._on_host([rows[slot] for slot in joining] + [None] * (size - len(joining)))
        order[joining] = self._held + np.arange(len(joining), dtype=np.int32)
        everyone = keras.ops.concatenate([self._images, keras.ops.convert_to_tensor(arrivals)], axis=0)
        return keras.ops.take(everyone, order, axis=0)

    def image_of(self, trajectory: Trajectory) -> Image:
        """A trajectory's noisy image, on the host: its starting noise if it has not begun."""
        if (slot := self._slots.get(trajectory)) is not None:
            return np.array(keras.ops.convert_to_numpy(self._images)[slot])
        if (image := self._parked.get(trajectory)) is not None:
            return image
        if trajectory.position:
            raise LookupError(f"the image of {trajectory} is not here")
        return starting_noise(trajectory.key.seed, self._image_size)

    def leaving(self, rows: Rows) -> Parked:
        """The images of those that had a slot, are still wanted, and are not among the rows."""
        seated = {row for row in rows if row is not None}
        leaving = [row for row in self._slots if row not in seated and not row.state.is_terminal]
        if not leaving:
            return {}
        images = keras.ops.convert_to_numpy(self._images)
        return {trajectory: np.array(images[self._slots[trajectory]]) for trajectory in leaving}

    def replace(self, images: Tensor, rows: Rows, parked: Parked, without: Iterable[Trajectory] = ()) -> None:
        """Takes the images that a tick made, and those it parked; lets go of all that are finished or canceled."""
        gone = set(without)
        self._images, self._held = images, len(rows)
        self._slots = {row: slot for slot, row in enumerate(rows) if row is not None and row not in gone}
        self._parked = {
            trajectory: image
            for trajectory, image in (self._parked | parked).items()
            if trajectory not in self._slots and not trajectory.state.is_terminal
        }

    def _on_host(self, rows: Rows) -> npt.NDArray[np.float32]:
        """The images of the rows as one array, zeros for empty ones."""
        images = np.zeros((len(rows), self._image_size, self._image_size, 3), np.float32)
        for place, row in enumerate(rows):
            if row is not None:
                images[place] = self.image_of(row)
        return images
