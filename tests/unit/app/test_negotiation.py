import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.negotiation import none_match, preferred_wait, wants_page, wants_picture

FIREFOX_IMAGE = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
FIREFOX_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "picture"),
    [
        (None, False),
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("image/png", True),
        ("IMAGE/PNG", True),
        ("image/*", True),
        (FIREFOX_IMAGE, True),
        (FIREFOX_PAGE, False),
        ("image/png, application/json", False),
        ("image/png;q=0.5, application/json", False),
        ("image/png, application/json;q=0.9", True),
        ("image/png;q=0, */*", False),
        ("image/png;q=0.9, image/*;q=0.1, */*;q=0.5", True),
        ("image/webp", False),
        ("image/png;q=7", True),
        (";;;,,", False),
    ],
)
def test_wants_picture(accept: str | None, picture: bool) -> None:
    assert wants_picture(accept) is picture


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, None),
        ("wait=10", 10.0),
        ("respond-async, wait=10", 10.0),
        ('wait="3"; foo', 3.0),
        ("Wait = 5", 5.0),
        ("wait=1, wait=9", 1.0),
        ("wait", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=" + "9" * 30, None),
        ("wait=\u0663", None),
    ],
)
def test_preferred_wait(prefer: str | None, seconds: float | None) -> None:
    assert preferred_wait(prefer) == seconds


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (None, False),
        ("", False),
        ("*", True),
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ('"x","y"', False),
        ("abc", False),
        ('"abcd"', False),
    ],
)
def test_none_match(header: str | None, matches: bool) -> None:
    assert none_match(header, '"abc"') is matches


@given(st.text(max_size=80))
def test_no_header_makes_them_fail(text: str) -> None:
    wants_picture(text)
    wants_page(text)
    preferred_wait(text)
    none_match(text, '"abc"')
