import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ApiError, ProblemCode
from app.strict_json import MAX_DEPTH, parse_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_reads_whatever_json_writes(value: object) -> None:
    text = json.dumps(value)
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        assert parse_json(text.encode()) == value


@given(st.binary(max_size=200))
def test_refuses_everything_else_with_a_problem(body: bytes) -> None:
    with contextlib.suppress(ApiError):
        parse_json(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"seed": 1, "seed": 2}', '"seed" is there twice'),
        (b'{"seed": NaN}', "NaN is not a JSON number"),
        (b'{"seed": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"seed": 1,}', "line 1, column"),
        (b'{"seed": 1} x', "Extra data"),
        (b"{'seed': 1}", "property name enclosed in double quotes"),
        (b'\xef\xbb\xbf{"seed": 1}', "byte order mark"),
        (b'{"seed": "\xff"}', "not UTF-8"),
        (b"[" * 40 + b"]" * 40, "nested 40 levels deep"),
        (b"[" * 60_000, "levels deep"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
)
def test_says_what_is_wrong(body: bytes, reason: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_json(body)
    assert caught.value.code is ProblemCode.INVALID_JSON
    assert reason in caught.value.detail
