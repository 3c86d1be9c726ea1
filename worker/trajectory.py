"""One image on its way from noise to a flower: which one it is, and how far it has come. No tensors."""

from __future__ import annotations

import dataclasses
import enum

from worker.protocol import ImageKey

__all__ = ["IllegalTransitionError", "ImageKey", "Trajectory", "TrajectoryState"]


class TrajectoryState(enum.Enum):
    """Where a trajectory stands: WAITING -> RUNNING -> FINISHED, or CANCELED before that."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        return self in (TrajectoryState.FINISHED, TrajectoryState.CANCELED)


class IllegalTransitionError(Exception):
    """A trajectory was asked for what its state does not allow: a fault in the program, never in a request."""


@dataclasses.dataclass(eq=False, slots=True)
class Trajectory:
    """The state of one image; the rows of a batch are a view of these.

    Invariants: 0 <= position <= key.last_step; `slot` is set only while RUNNING, and a RUNNING trajectory may be
    without one for a while (parked); FINISHED means position == key.last_step.
    """

    key: ImageKey
    jobs: set[str] = dataclasses.field(default_factory=set)
    """The jobs that want this image."""
    position: int = 0
    """Steps taken."""
    slot: int | None = None
    state: TrajectoryState = TrajectoryState.WAITING

    @property
    def remaining(self) -> int:
        """Steps still to take."""
        return self.key.last_step - self.position

    def admit(self, slot: int) -> None:
        """Takes a slot, at first or again, or moves to another."""
        self._refuse_terminal("admit")
        self.slot = slot
        self.state = TrajectoryState.RUNNING

    def park(self) -> None:
        """Gives the slot up for a while; the engine keeps the image."""
        self._refuse_terminal("park")
        self.slot = None

    def advance(self, steps: int) -> None:
        """Records steps taken; the last one finishes the trajectory."""
        if self.state is not TrajectoryState.RUNNING or not 1 <= steps <= self.remaining:
            raise IllegalTransitionError(f"cannot advance {self} by {steps} steps")
        self.position += steps
        if self.remaining == 0:
            self.state = TrajectoryState.FINISHED
            self.slot = None

    def cancel(self) -> None:
        """Gives up: nobody wants this image any more."""
        self._refuse_terminal("cancel")
        self.state = TrajectoryState.CANCELED
        self.slot = None

    def _refuse_terminal(self, verb: str) -> None:
        if self.state.is_terminal:
            raise IllegalTransitionError(f"cannot {verb} {self}")
