"""Kinds of flowers by name, as requests ask for them and images' names spell them."""

from __future__ import annotations

import re
from typing import Final

from worker.protocol.checks import ProtocolError, check_text

MAX_KIND_LENGTH: Final = 100
"""Characters of a kind as it is spelt: a file's name may have 255 bytes, and the rest of an image's has some 80."""

_PLAIN: Final = re.compile(r"[a-z0-9]", re.ASCII)
_SPELT: Final = re.compile(r"(?:[a-z0-9_]|~[0-9a-f]{2})+", re.ASCII)

SPELT_KIND: Final = rf"[a-z0-9_~]{{1,{MAX_KIND_LENGTH}}}"
"""A regular expression that every spelt kind matches, and no `-`, which parts what stands in an image's name."""


def check_kind(value: object) -> str:
    """Returns `value` if it is a name that a kind of flower can have in a request. Raises ProtocolError."""
    kind = check_text("kind", value)
    if not kind.strip() or not kind.isprintable():
        raise ProtocolError("kind", "must be a name in printable characters")
    try:
        length = len(spell_kind(kind))
    except UnicodeEncodeError:  # half of a surrogate pair
        raise ProtocolError("kind", "must be a name in printable characters") from None
    if length > MAX_KIND_LENGTH:
        raise ProtocolError("kind", f"is too long: {length} characters as it is spelt, and {MAX_KIND_LENGTH} may be")
    return kind


def spell_kind(kind: str) -> str:
    """The kind in characters that mean nothing special in URLs and to file systems, large letters among them.

    A space becomes `_`, all but small letters and digits `~` and two hex digits for each byte: `colt~27s_foot`.
    """
    return "".join(map(_spell, kind))


def _spell(character: str) -> str:
    if _PLAIN.fullmatch(character):
        return character
    return "_" if character == " " else "".join(f"~{byte:02x}" for byte in character.encode())


def read_kind(spelt: str) -> str:
    """The inverse of `spell_kind`, strict: one spelling a kind. Raises ProtocolError for any other text."""
    if _SPELT.fullmatch(spelt):
        text = re.sub(rb"~(..)", lambda match: bytes([int(match[1], 16)]), spelt.replace("_", " ").encode())
        try:
            kind = check_kind(text.decode())
        except UnicodeDecodeError:
            kind = ""
        if spell_kind(kind) == spelt:
            return kind
    raise ProtocolError("kind", f"is not how a kind of flower is spelt: {spelt!r}")
