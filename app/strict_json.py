"""JSON as RFC 8259 means it: no duplicate names, no NaN, no surprises. Nothing that a lenient reader would guess at."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from app.errors import ApiError, ProblemCode

MAX_DEPTH = 32
"""Levels of nesting; a body of this API has one."""


def parse_json(body: bytes) -> Any:
    """Returns the value that `body` holds.

    Raises:
        ApiError: 400, `invalid-json`, with the place and the reason.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"byte {error.start} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise _invalid("it begins with a byte order mark")
    if (depth := _depth(text)) > MAX_DEPTH:
        raise _invalid(f"it is nested {depth} levels deep; {MAX_DEPTH} are allowed")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise _invalid(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError:  # more digits than Python turns into an integer
        raise _invalid("it holds a number with too many digits") from None


def _depth(text: str) -> int:
    """An upper bound of the nesting, counted before parsing so that the parser cannot run out of stack."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _invalid(f"the name {json.dumps(twice[:64])} is there twice")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise _invalid(f"{name} is not a JSON number")


def _invalid(reason: str) -> ApiError:
    return ApiError(ProblemCode.INVALID_JSON, f"The body is not valid JSON: {reason}.")
