"""A folder of images from a server: PNG files under their own names, and a CSV file with a line about each."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TextIO

from app.command_error import CommandError
from app.schemas import Image
from worker.protocol import ImageAddress

CSV_NAME: Final = "flowers.csv"
_COLUMNS: Final = ("file", "seed", "steps", "sampler", "kind", "revision", "width", "height", "bytes", "sha256")
_BYTES: Final = _COLUMNS.index("bytes")
_SHA256: Final = _COLUMNS.index("sha256")
_SHA256_DIGITS: Final = 64


class BulkFolder:
    """Knows what is there already, so that a run that was broken off goes on where it was.

    An image is there if the CSV file has a line about it and a file of the size that the line says. The line is written
    after the file, and the file is whole or missing: so nothing half written ever counts, whenever the power went.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sizes: dict[str, int] = {}
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        """Raises CommandError: the folder cannot be made, read or written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lines = self._read()
            # Anew, since the last line may be torn.
            partial = self.folder / f".{CSV_NAME}"
            with partial.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([_COLUMNS, *lines])
            partial.replace(self.folder / CSV_NAME)
            self._file = (self.folder / CSV_NAME).open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise self._unusable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, name: str) -> bool:
        """Whether an image is here, whole."""
        size = self._sizes.get(name)
        return size is not None and size == self._size_of(name)

    def add(self, address: ImageAddress, image: Image, png: bytes) -> None:
        """Keeps an image. Raises CommandError: it cannot be written."""
        try:
            partial = self.folder / f".{address.name}"
            partial.write_bytes(png)
            partial.replace(self.folder / address.name)
            if self._file is None:
                raise RuntimeError("the folder is not open")
            # The kind as it came out: an address has it only where it was asked for.
            how = (address.name, address.seed, address.steps, address.sampler, image.kind or "", address.revision)
            csv.writer(self._file).writerow([*how, image.width, image.height, image.bytes, image.sha256])
            self._file.flush()
        except OSError as error:
            raise self._unusable(error) from error
        self._sizes[address.name] = len(png)

    def read(self, name: str) -> bytes:
        """An image that is here. Raises CommandError."""
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise self._unusable(error) from error

    def remove(self, names: Sequence[str]) -> None:
        """Removes images and the CSV file, and the folder if nothing else is in it."""
        self.__exit__(None, None, None)
        for name in (*names, CSV_NAME):
            (self.folder / name).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _read(self) -> list[list[str]]:
        """The lines about images that are here, whole."""
        path = self.folder / CSV_NAME
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            try:
                lines = [line for line in csv.reader(file) if _is_about_an_image(line)]
            except csv.Error:
                return []
        for line in lines:
            self._sizes[line[0]] = int(line[_BYTES])
        return [line for line in lines if self.has(line[0])]

    def _size_of(self, name: str) -> int | None:
        try:
            return (self.folder / name).stat().st_size
        except FileNotFoundError:
            return None

    def _unusable(self, error: OSError) -> CommandError:
        return CommandError(f"--out {self.folder} cannot be used: {error.strerror or error}.")


def _is_about_an_image(line: list[str]) -> bool:
    """Whether it is a whole line of ours: not the heading, and not torn."""
    return len(line) == len(_COLUMNS) and line[_BYTES].isdecimal() and len(line[_SHA256]) == _SHA256_DIGITS
