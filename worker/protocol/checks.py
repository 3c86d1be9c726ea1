"""What every message is held to: no field missing or unknown, each of the right type and within its bounds.

For the protocol's own files; others need only the error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


class ProtocolError(ValueError):
    """A message between front end and worker breaks the protocol. `field` names the culprit."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def check_integer(field: str, value: object, lowest: int, highest: int) -> int:
    """Returns `value` if it is an int (never a bool or a float) within the bounds, both included."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ProtocolError(field, f"must be an integer, not {type(value).__name__}")
    if not lowest <= value <= highest:
        raise ProtocolError(field, f"must be between {lowest} and {highest}, not {value}")
    return value


def check_number(field: str, value: object) -> float:
    """Returns `value` as a float if it is an int or a float, finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ProtocolError(field, f"must be a finite number, 0 or more, not {value!r}")
    return float(value)


def check_text(field: str, value: object) -> str:
    """Returns `value` if it is a string."""
    if not isinstance(value, str):
        raise ProtocolError(field, f"must be a string, not {type(value).__name__}")
    return value


def check_fields(
    what: str, values: object, expected: set[str], optional: frozenset[str] = frozenset()
) -> Mapping[str, Any]:
    """Returns `values` if it is a mapping with exactly the expected keys, and perhaps optional ones."""
    if not isinstance(values, Mapping):
        raise ProtocolError(what, f"must be an object, not {type(values).__name__}")
    if unknown := sorted(str(name) for name in values.keys() - expected - optional):
        raise ProtocolError(unknown[0], f"is not a field of a {what}")
    if missing := sorted(expected - values.keys()):
        raise ProtocolError(missing[0], f"is missing from the {what}")
    return values
