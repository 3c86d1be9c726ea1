"""Where finished images are kept, by the name that says what made them.

An image never changes, so storing one twice is harmless, and whoever finds one may serve it for ever. Standard library
only, as long as the store is a folder: the front end reads images through this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class StoreError(Exception):
    """The store cannot be read or written; the message says what failed, why, and what to do next."""


class ImageStore(Protocol):
    """Images by name.

    Every method raises ProtocolError if `name` is not an image name, and StoreError if the store cannot do its work.
    """

    def put(self, name: str, data: bytes) -> None:
        """Keeps an image, whole or not at all. Doing it again changes nothing."""
        ...

    def get(self, name: str) -> bytes | None:
        """The image, or None if it is not here."""
        ...

    def exists(self, name: str) -> bool:
        """Whether the image is here."""
        ...

    def delete(self, name: str) -> None:
        """Forgets the image, if it is here."""
        ...


def open_store(location: str | Path) -> ImageStore:
    """The store at a folder's path, a `file://` URL or `s3://<bucket>/<prefix>`. Touches neither disk nor network.

    Raises:
        StoreError: the location is of a kind that is not known, or that is not installed.
    """
    text = str(location)
    if text.startswith("s3://"):
        from worker.s3_store import open_s3_store

        return open_s3_store(text)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    elif "://" in text:
        kind = text.split("://")[0]
        raise StoreError(f"BOUQUET_STORE: {kind}:// is not a kind of store; name a folder, or s3://<bucket>/<prefix>.")
    if not text:
        raise StoreError("BOUQUET_STORE: is empty; name a folder, or s3://<bucket>/<prefix>.")
    from worker.directory_store import DirectoryStore

    return DirectoryStore(Path(text).expanduser().absolute())
