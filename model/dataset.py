"""Photos to train on: Oxford Flowers 102 through TFDS, or any folder of images, as square arrays of pixels."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]

TFDS_NAME = "oxford_flowers102"
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}
"""Antialiased resize filters: ``bilinear`` is the reference's; ``box`` averages areas, which keeps more detail."""

VALIDATION_FOLDERS = ("valid", "validation")
VALIDATION_SHARE = 0.2
"""Of a folder that has no splits of its own."""


class DatasetError(Exception):
    """The data cannot be trained on; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Photos of both splits, by size: uint8 [photos, size, size, 3], the same photos in the same order at each."""

    source: str
    train: dict[int, Pixels]
    validation: dict[int, Pixels]
    skipped: tuple[str, ...]
    """Files that are no readable images, each with the reason."""
    classes: tuple[str, ...] = ()
    """Names of the kinds of flower, in the order of their numbers; empty where the photos are of none."""
    train_labels: Labels | None = None
    """The class of each photo, int32 [photos]; None where there are no classes."""
    validation_labels: Labels | None = None

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Training photos of each class."""
        if self.train_labels is None:
            return ()
        return tuple(int(count) for count in np.bincount(self.train_labels, minlength=len(self.classes)))

    def without_classes(self) -> Dataset:
        """The same photos for a network that is told of no classes."""
        return dataclasses.replace(self, classes=(), train_labels=None, validation_labels=None)

    def fingerprint(self) -> str:
        """SHA-256 over the pixels of the largest size, and the labels: tells whether two runs saw the same data."""
        size = max(self.train)
        digest = hashlib.sha256()
        for labels in (self.train_labels, self.validation_labels):
            digest.update(b"" if labels is None else labels.tobytes())
        for photos in (self.train[size], self.validation[size]):
            digest.update(f"{photos.shape}".encode())
            digest.update(photos.tobytes())
        return digest.hexdigest()


def load_dataset(source: str, sizes: Iterable[int], resize: str = "bilinear") -> Dataset:
    """Read and prepare the photos: centre square crop, then antialiased resize.

    Args:
        source: ``tfds``, or a folder: with subfolders ``train`` and ``valid`` (or ``validation``), else all
            images below it are split 80/20, always in the same way.
        sizes: the sides in pixels at which they are wanted.
        resize: a name of ``FILTERS``.

    Raises:
        DatasetError: no such folder, no images, photos smaller than a size asked for.
    """
    sizes = sorted(set(sizes))
    if source == "tfds":
        skipped: list[str] = []
        train, train_names = _squares(_tfds_photos("[:80%]"), sizes, resize)
        validation, validation_names = _squares(_tfds_photos("[80%:]"), sizes, resize)
    else:
        folder = Path(source)
        train_paths, validation_paths = _split(folder)
        skipped = []
        train, train_names = _squares(_opened(train_paths, folder, skipped.append), sizes, resize)
        validation, validation_names = _squares(_opened(validation_paths, folder, skipped.append), sizes, resize)
    for name, photos in (("training", train), ("validation", validation)):
        if not len(photos[sizes[0]]):
            raise DatasetError(f"{source}: no readable {name} photos; {len(skipped)} files were skipped")
    classes = tuple(sorted({*train_names, *validation_names}))
    if "" in classes:
        return Dataset(source, train, validation, tuple(skipped))
    train_labels, validation_labels = (
        np.array([classes.index(name) for name in names], np.int32) for names in (train_names, validation_names)
    )
    return Dataset(source, train, validation, tuple(skipped), classes, train_labels, validation_labels)


class _Photo(NamedTuple):
    name: str
    """For messages."""
    class_name: str
    """Empty where it is of no class."""
    image: Image.Image


def _squares(photos: Iterable[_Photo], sizes: Sequence[int], resize: str) -> tuple[dict[int, Pixels], list[str]]:
    """Every photo as a centred square of each size, and the names of their classes."""
    squares: dict[int, list[Pixels]] = {size: [] for size in sizes}
    class_names = []
    for name, class_name, photo in photos:
        class_names.append(class_name)
        side = min(photo.size)
        if side < sizes[-1]:
            raise DatasetError(
                f"{name}: {photo.width} x {photo.height} pixels, smaller than the {sizes[-1]} x {sizes[-1]} that are "
                "trained on; remove it, or train smaller images with --stages"
            )
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        for size in sizes:
            square = photo.resize((size, size), FILTERS[resize], box=(left, top, left + side, top + side))
            squares[size].append(np.asarray(square))
    stacks = {
        size: np.stack(pixels) if pixels else np.empty((0, size, size, 3), np.uint8) for size, pixels in squares.items()
    }
    return stacks, class_names


def _split(folder: Path) -> tuple[list[Path], list[Path]]:
    """Paths to train on and paths to validate on."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: there is no such folder; give a folder of photos, or `tfds`")
    train = folder / "train"
    for name in VALIDATION_FOLDERS:
        if train.is_dir() and (folder / name).is_dir():
            return _image_paths(train), _image_paths(folder / name)
    paths = sorted(_image_paths(folder), key=lambda path: _rank(path.relative_to(folder)))
    count = sum(_rank(path.relative_to(folder)) < VALIDATION_SHARE for path in paths)
    # Few photos may all be drawn for one side; one at least goes to the other.
    count = min(max(count, 1), len(paths) - 1)
    return sorted(paths[count:]), sorted(paths[:count])


def _rank(name: PurePath) -> float:
    """Where a photo stands in [0, 1), by a hash of its name: it stays in its split whatever else is in the folder."""
    return int.from_bytes(hashlib.sha256(name.as_posix().encode()).digest()[:6], "big") / 2.0**48


def _image_paths(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise DatasetError(f"{folder}: no images in it ({', '.join(sorted(SUFFIXES))})")
    return paths


def _opened(paths: Iterable[Path], source: Path, skip: Callable[[str], None]) -> Iterator[_Photo]:
    """The photos that can be read; the folder of a photo names its class, unless it is a split or the source."""
    splits = {source, *(source / name for name in ("train", *VALIDATION_FOLDERS))}
    for path in paths:
        try:
            with Image.open(path) as file:
                photo = file.convert("RGB")
        except Exception as error:  # the decoders raise whatever a broken file makes them stumble over
            skip(f"{path}: {error}")
            continue
        yield _Photo(str(path), "" if path.parent in splits else path.parent.name, photo)


def _tfds_photos(part: str) -> Iterator[_Photo]:
    """A part of each official split, such as ``[:80%]``, by the slicing API."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DatasetError(
            "tfds: install tensorflow-datasets (the extra `train`), or give a folder of photos"
        ) from error
    split = "+".join(name + part for name in ("train", "validation", "test"))
    try:
        photos = tfds.load(TFDS_NAME, split=split, shuffle_files=False)
    except Exception as error:  # of the network, of the disk, of the libraries in between
        raise DatasetError(
            f"tfds: {TFDS_NAME} could not be fetched ({error}); try again, or give a folder of photos instead"
        ) from error
    for index, example in enumerate(tfds.as_numpy(photos)):
        # Numbered from 1 in three digits, as the dataset's own files are.
        yield _Photo(f"{TFDS_NAME} photo {index}", f"{example['label'] + 1:03d}", Image.fromarray(example["image"]))
