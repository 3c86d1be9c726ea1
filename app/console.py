"""One console for many processes: each line with the name of the part it came from."""

import contextlib
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

_COLOURS = (36, 33, 32, 35, 34, 31)  # ANSI foregrounds: cyan, yellow, green, magenta, blue, red


class Console:
    """Writes `name | line`, names aligned, coloured where a person looks on (unless NO_COLOR is set, no-color.org).

    With `as_json` each line is a JSON object: a part's own object with `part` put first, or an object about any other
    line.
    """

    def __init__(self, stream: TextIO, names: Sequence[str], *, as_json: bool = False) -> None:
        self._stream = stream
        self._width = max(map(len, names), default=0)
        self._colour = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
        self._coloured = stream.isatty() and not os.environ.get("NO_COLOR")
        self._as_json = as_json

    def line(self, name: str, text: str) -> None:
        """Write one line; a console that is gone (a closed terminal or pipe) is no reason to stop the parts."""
        line = _object(name, text) if self._as_json else self._prefixed(name, text)
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def _prefixed(self, name: str, text: str) -> str:
        prefix = f"{name:<{self._width}} |"
        if self._coloured:
            prefix = f"\x1b[{self._colour.get(name, 0)}m{prefix}\x1b[0m"
        return f"{prefix} {text}"


def _object(name: str, text: str) -> str:
    try:
        fields = json.loads(text) if text.startswith("{") else None
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        fields = {"time": datetime.now(UTC).isoformat(), "level": "INFO", "logger": "bouquet.serve", "message": text}
    return json.dumps({"part": name} | fields)
