"""What is kept of all trajectories that have begun: of those with a slot on the device, of parked ones on the host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from worker.protocol import ImageKey
from worker.starting_noises import Noise, StartingNoises, draw
from worker.trajectory import Trajectory

Tensor = Any
Image = npt.NDArray[np.float32]


class Canvas(NamedTuple):
    """What a step needs of an image, or of a whole array of them, and what it leaves."""

    noisy: Any
    """float32 [s, s, 3], or [slots, s, s, 3]: the noisy image."""
    predicted: Any
    """The image that the last step predicted; zeros before the first step."""


Parked = dict[Trajectory, Canvas]
Rows = Sequence[Trajectory | None]


class SlotArray:
    """Gives a tick the canvases of its rows, wherever they are, and takes them back.

    `arrange` and `leaving` change nothing; `replace` is the one commit. They are held by trajectory and not by what the
    image is of: one that was canceled and asked for anew begins from its noise.
    """

    def __init__(self, image_size: int, slot_counts: Sequence[int], noises: StartingNoises) -> None:
        self._image_size = image_size
        self._noises = noises
        self._slot_counts = tuple(slot_counts)
        self._canvas = Canvas(None, None)
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

    def arrange(self, rows: Rows) -> Canvas:
        """The canvas of the rows, in their order; on the device already, or brought there. Empty rows hold anything."""
        sources = [self._slots.get(row) if row is not None else None for row in rows]
        stay = all(row is None or source == slot for slot, (row, source) in enumerate(zip(rows, sources, strict=True)))
        if stay and self._held == len(rows):
            return self._canvas
        joining = [slot for slot, row in enumerate(rows) if row is not None and sources[slot] is None]
        if all(source is None for source in sources):
            return Canvas(*map(keras.ops.convert_to_tensor, self._on_host(rows)))
        order = np.array([source or 0 for source in sources], np.int32)
        if not joining:
            return Canvas(*(keras.ops.take(images, order, axis=0) for images in self._canvas))
        # Newcomers come in an array of a compiled size too, so that no shape is compiled for them alone.
        size = next(count for count in self._slot_counts if count >= len(joining))
        arrivals = self._on_host([rows[slot] for slot in joining] + [None] * (size - len(joining)))
        order[joining] = self._held + np.arange(len(joining), dtype=np.int32)
        everyone = (
            keras.ops.concatenate([held, keras.ops.convert_to_tensor(arrived)], axis=0)
            for held, arrived in zip(self._canvas, arrivals, strict=True)
        )
        return Canvas(*(keras.ops.take(images, order, axis=0) for images in everyone))

    def canvas_of(self, trajectory: Trajectory) -> Canvas:
        """A trajectory's canvas, on the host: its starting noise if it has not begun."""
        if (slot := self._slots.get(trajectory)) is not None:
            return Canvas(*(np.array(keras.ops.convert_to_numpy(images)[slot]) for images in self._canvas))
        if (canvas := self._parked.get(trajectory)) is not None:
            return canvas
        if trajectory.position:
            raise LookupError(f"the image of {trajectory} is not here")
        return _fresh(self._noises.take(trajectory.key))

    def leaving(self, rows: Rows) -> Parked:
        """The canvases of those that had a slot, are still wanted, and are not among the rows."""
        seated = {row for row in rows if row is not None}
        leaving = [row for row in self._slots if row not in seated and not row.state.is_terminal]
        if not leaving:
            return {}
        arrays = [keras.ops.convert_to_numpy(images) for images in self._canvas]
        return {row: Canvas(*(np.array(images[self._slots[row]]) for images in arrays)) for row in leaving}

    def replace(self, canvas: Canvas, rows: Rows, parked: Parked, without: Iterable[Trajectory] = ()) -> None:
        """Takes what a tick made, and what it parked; lets go of all that are finished or canceled."""
        gone = set(without)
        self._canvas, self._held = canvas, len(rows)
        self._slots = {row: slot for slot, row in enumerate(rows) if row is not None and row not in gone}
        self._parked = {
            trajectory: canvas
            for trajectory, canvas in (self._parked | parked).items()
            if trajectory not in self._slots and not trajectory.state.is_terminal
        }

    def _on_host(self, rows: Rows) -> Canvas:
        """The canvases of the rows as one, zeros for empty ones."""
        shape = (len(rows), self._image_size, self._image_size, 3)
        together = Canvas(np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        for place, row in enumerate(rows):
            if row is not None:
                for images, image in zip(together, self.canvas_of(row), strict=True):
                    images[place] = image
        return together


def fresh_canvas(key: ImageKey, image_size: int) -> Canvas:
    """What a trajectory begins with: the noise of its seed, or between two, and nothing predicted."""
    return _fresh(draw(key, image_size))


def _fresh(noise: Noise) -> Canvas:
    return Canvas(noise, np.zeros_like(noise))
