"""Secrets that stand in files: read alike by the settings of the front end and of the worker. Standard library only."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit


class SecretFileError(ValueError):
    """A secret's file cannot be used. The message names the variable and never shows what is in the file."""


def first_line(variable: str, path: Path) -> str:
    """The secret in the file that a variable names. Raises SecretFileError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SecretFileError(f"{variable}: {path} cannot be read: {reason}.") from None
    if not lines or not lines[0].strip():
        raise SecretFileError(f"{variable}: {path} has an empty first line, where the secret should be.")
    return lines[0].strip()


def with_password_of(url: str | None, path: Path) -> str:
    """BOUQUET_REDIS_URL with the password that BOUQUET_REDIS_PASSWORD_FILE holds. Raises SecretFileError."""
    if url is None:
        raise SecretFileError("BOUQUET_REDIS_PASSWORD_FILE: is for BOUQUET_REDIS_URL, which is not set.")
    password = first_line("BOUQUET_REDIS_PASSWORD_FILE", path)
    parts = urlsplit(url)
    if parts.password is not None and unquote(parts.password) != password:
        raise SecretFileError(
            "BOUQUET_REDIS_PASSWORD_FILE: BOUQUET_REDIS_URL has a password already; give one of the two."
        )
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{quote(password, safe='')}@{place}"))
