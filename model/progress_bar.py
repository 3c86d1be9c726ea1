"""What whoever trains sees meanwhile: a bar with loss, images a second and the time left."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from model.budget import Budget

if TYPE_CHECKING:
    from model.run import Progress

LOG_SECONDS = 30.0
"""Between lines where the output is a file and no terminal."""


class ProgressBar:
    """A bar over a run's budget: over steps, or over minutes where the run was given those."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, budget: Budget, progress: Progress) -> None:
        """Show the bar, from where a resumed run stands."""
        minutes = budget.config.minutes
        self._in_minutes = minutes is not None
        self._bar = tqdm(
            total=round(minutes, 2) if minutes is not None else budget.total_steps,
            initial=self._position(progress),
            unit="min" if self._in_minutes else "step",
            mininterval=0.5 if sys.stderr.isatty() else LOG_SECONDS,
            bar_format="{l_bar}{bar:24}| {n:.1f}/{total:.1f} {unit} [{elapsed}<{remaining}{postfix}]",
        )

    def update(self, progress: Progress, noise_loss: float, images_per_second: float) -> None:
        """After a compiled call: the loss of its last step, and its speed."""
        if self._bar is None:
            return
        self._bar.set_postfix_str(f"loss {noise_loss:.3f}, {images_per_second:.0f} images/s", refresh=False)
        self._bar.update(max(0.0, self._position(progress) - self._bar.n))

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        tqdm.write(line, file=sys.stderr)

    def _position(self, progress: Progress) -> float:
        return progress.seconds / 60.0 if self._in_minutes else progress.step
