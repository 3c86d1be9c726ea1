"""The request headers that choose between answers: Accept, Prefer, If-None-Match. Reading them never fails."""

from __future__ import annotations

import re
from typing import Final

_QUALITY: Final = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*", re.ASCII | re.IGNORECASE)
_WAIT: Final = re.compile(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;.*)?", re.ASCII | re.IGNORECASE)
_ETAG: Final = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def wants_picture(accept: str | None) -> bool:
    """Whether `Accept` ranks image/png above application/json (RFC 9110, section 12.5.1)."""
    if not accept:
        return False
    return _quality(accept, "image", "png") > _quality(accept, "application", "json")


def wants_page(accept: str | None) -> bool:
    """Whether `Accept` names text/html, as browsers do for what people will read."""
    return accept is not None and "text/html" in accept.lower()


def preferred_wait(prefer: str | None) -> float | None:
    """The seconds of `Prefer: wait=N` (RFC 7240); None without one. The first one counts."""
    for preference in (prefer or "").split(","):
        if match := _WAIT.fullmatch(preference):
            return float(match[1])
    return None


def none_match(if_none_match: str | None, etag: str) -> bool:
    """Whether `If-None-Match` covers `etag`, by weak comparison (RFC 9110, section 13.1.2)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or etag in _ETAG.findall(if_none_match)


def _quality(accept: str, kind: str, subtype: str) -> float:
    """The quality that `Accept` gives a media type: that of the most specific range that covers it, else 0."""
    best = (-1, 0.0)
    for part in accept.split(","):
        media_range, *parameters = part.split(";")
        range_kind, _, range_subtype = media_range.strip().lower().partition("/")
        if range_kind not in (kind, "*") or range_subtype not in (subtype, "*"):
            continue
        quality = next((float(match[1]) for text in parameters if (match := _QUALITY.fullmatch(text))), 1.0)
        best = max(best, ((range_kind != "*") + (range_subtype != "*"), quality))
    return best[1]
