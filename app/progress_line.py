"""A bar on the terminal that says how far a command is, and how long it will still take."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Final, TextIO

_EVERY_SECONDS: Final = 0.1
_WIDEST: Final = 40


class ProgressLine:
    """Writes over itself; writes nothing where no person looks on."""

    def __init__(self, stream: TextIO, total: int, unit: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._shown = stream.isatty()
        self._total = total
        self._unit = unit
        self._clock = clock
        self._began = clock()
        self._first: int | None = None
        self._next = 0.0
        self._width = 0

    def update(self, done: int, note: str = "") -> None:
        """`done` of the total are there; `note` replaces the time left."""
        now = self._clock()
        if self._first is None:
            self._first, self._began = done, now
        if not self._shown or (now < self._next and done < self._total):
            return
        self._next = now + _EVERY_SECONDS
        self._write(self._text(done, now, note))

    def close(self) -> None:
        """Ends the line, so that what is printed next begins a new one."""
        if self._width:
            self._stream.write("\n")
            self._stream.flush()
            self._width = 0

    def _text(self, done: int, now: float, note: str) -> str:
        columns = shutil.get_terminal_size().columns
        width = max(8, min(_WIDEST, columns - 50))
        filled = width * done // self._total
        bar = "█" * filled + "░" * (width - filled)
        made, seconds = done - (self._first or 0), now - self._began
        if not note and made and seconds > 0:
            rate = made / seconds
            note = f"{rate:.1f}/s, {_duration((self._total - done) / rate)} left" if done < self._total else ""
        return f"{bar} {done}/{self._total} {self._unit}{'  ' if note else ''}{note}"[: max(20, columns - 1)]

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text:<{self._width}}")
        self._stream.flush()
        self._width = len(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
