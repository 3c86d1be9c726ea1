"""One console for many processes: each line with the name of the part it came from."""

import contextlib
import os
from collections.abc import Sequence
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 31)  # ANSI foregrounds: cyan, yellow, green, magenta, blue, red


class Console:
    """Writes `name | line`, names aligned, coloured where a person looks on (unless NO_COLOR is set, no-color.org)."""

    def __init__(self, stream: TextIO, names: Sequence[str]) -> None:
        self._stream = stream
        self._width = max(map(len, names), default=0)
        self._colour = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
        self._coloured = stream.isatty() and not os.environ.get("NO_COLOR")

    def line(self, name: str, text: str) -> None:
        """Write one line; a console that is gone (a closed terminal or pipe) is no reason to stop the parts."""
        prefix = f"{name:<{self._width}} |"
        if self._coloured:
            prefix = f"\x1b[{self._colour.get(name, 0)}m{prefix}\x1b[0m"
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{prefix} {text}\n")
            self._stream.flush()
