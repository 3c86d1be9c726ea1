"""Between the engine and the store, beside the ticks: looks images up, encodes finished ones and stores them.

Encodes previews for those who watch, too.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from model.classes import class_of
from worker.png import encode_png, is_whole_png, reproduction_metadata
from worker.previews import Shot
from worker.protocol import GenerationRequest, ImageRecord, Preview
from worker.store import ImageStore, StoreError
from worker.trajectory import ImageKey
from worker.webp import encode_webp, is_whole_webp

log = logging.getLogger(__name__)

Pixels = npt.NDArray[np.uint8]
_FIRST_PAUSE = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class ServedBundle:
    """What images say of the bundle they come from: name, content hash, revision, and their side in pixels.

    Where its network is told of kinds of flowers, also their names, and by which counts a seed's is drawn.
    """

    name: str
    content_hash: str
    revision: str
    image_size: int
    class_names: tuple[str, ...] = ()
    class_counts: tuple[int, ...] = ()

    def complaint_about(self, request: GenerationRequest) -> str | None:
        """What in a request this bundle cannot do, in words; None if it can do it all."""
        if request.kind is None or request.kind in self.class_names:
            return None
        return f"kind: the bundle {self.name} knows no {request.kind!r}; GET /model lists the kinds that it knows"

    def kind_of(self, seed: int) -> str:
        """What kind of flower a seed grows into; empty where the network is told none."""
        return self.class_names[class_of(seed, self.class_counts)] if self.class_names else ""


@dataclasses.dataclass(frozen=True, slots=True)
class LookedUp:
    """What the store has of some of a job's images already."""

    job_id: str
    keys: tuple[ImageKey, ...]
    found: dict[ImageKey, ImageRecord]


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """An image has arrived in the store."""

    key: ImageKey
    record: ImageRecord


@dataclasses.dataclass(frozen=True, slots=True)
class NotStored:
    """An image could not be encoded or stored; `detail` says why, for people."""

    key: ImageKey
    code: str
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """Previews are encoded: (job id, preview) each. Those that could not be made are missing."""

    previews: tuple[tuple[str, Preview], ...]


WriterEvent = LookedUp | Stored | NotStored | Shown


class ImageWriter:
    """A small thread pool in front of the store; what it has done comes out as events, in any order."""

    def __init__(
        self,
        store: ImageStore,
        bundle: ServedBundle,
        *,
        patience: float,
        report: Callable[[WriterEvent], None],
        prepare: Callable[[ImageKey], None] = lambda key: None,
        threads: int = 2,
    ) -> None:
        """Makes the pool.

        Args:
            store: where the images are.
            bundle: what they are made with.
            patience: seconds for which a store that refuses an image is tried again.
            report: is called with each event, in the threads of the pool, several of which may do so at a time.
            prepare: is told of an image that is looked up in vain, before the look-up is reported.
            threads: how many work at a time.
        """
        self._store = store
        self._bundle = bundle
        self._patience = patience
        self._report = report
        self._prepare = prepare
        self._hurry = threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="images")

    def look_up(self, job_id: str, keys: Sequence[ImageKey]) -> None:
        """Asks which images are in the store already; a LookedUp event answers, always."""
        self._pool.submit(self._look_up, job_id, tuple(keys))

    def write(self, keys: Sequence[ImageKey], read: Callable[[], Sequence[Pixels]]) -> None:
        """Stores images whose pixels `read` gives; for each, a Stored or a NotStored event answers, always."""
        self._pool.submit(self._read, tuple(keys), read)

    def show(self, shots: Sequence[Shot], read: Callable[[], Sequence[Pixels]]) -> None:
        """Encodes previews; `read` gives the pixels of shots that have a trajectory. A Shown event answers, always."""
        self._pool.submit(self._show, tuple(shots), read)

    def close(self) -> None:
        """Stops trying a store that refuses, and ends the threads once they have done what they were given."""
        self._hurry.set()
        self._pool.shutdown()

    def _look_up(self, job_id: str, keys: tuple[ImageKey, ...]) -> None:
        found: dict[ImageKey, ImageRecord] = {}
        try:
            for key in keys:
                data = self._store.get(self._name(key))
                if data is not None and _is_whole(key, data, self._bundle.image_size):
                    found[key] = self._record(key, data)
        except Exception:  # then the images are computed; if the store is really broken, storing them says so
            log.warning("cannot look for the images of job %s in the store", job_id, exc_info=True)
        for key in keys:
            if key not in found:
                self._prepare(key)
        self._report(LookedUp(job_id, keys, found))

    def _read(self, keys: tuple[ImageKey, ...], read: Callable[[], Sequence[Pixels]]) -> None:
        try:
            images = read()
        except Exception as error:
            log.exception("cannot read images from the device")
            for key in keys:
                self._report(NotStored(key, "computation-failed", f"{type(error).__name__}: {error}"))
            return
        for key, pixels in zip(keys[1:], images[1:], strict=True):
            self._pool.submit(self._write, key, pixels)
        self._write(keys[0], images[0])

    def _write(self, key: ImageKey, pixels: Pixels) -> None:
        try:
            data = self._encode(key, pixels)
            self._put(self._name(key), data)
            self._report(Stored(key, self._record(key, data)))
        except StoreError as error:
            self._report(NotStored(key, "store-failed", str(error)))
        except Exception as error:
            log.exception("cannot encode or store the image of seed %s, %d steps", key.origin, key.steps)
            self._report(NotStored(key, "internal-error", f"{type(error).__name__}: {error}"))

    def _show(self, shots: tuple[Shot, ...], read: Callable[[], Sequence[Pixels]]) -> None:
        previews = []
        try:
            pixels = iter(read())
            for shot in shots:
                png = self._store.get(self._name(shot.key)) if shot.trajectory is None else encode_png(next(pixels), {})
                if png is not None:
                    text = base64.b64encode(png).decode("ascii")
                    previews.append((shot.job_id, Preview(shot.key.seed, shot.steps_done, shot.key.steps, text)))
        except Exception:  # nobody is harmed: the image itself is on its way
            log.warning("previews could not be made", exc_info=True)
        self._report(Shown(tuple(previews)))

    def _put(self, name: str, data: bytes) -> None:
        """Stores, trying again with growing pauses for as long as the patience lasts."""
        gives_up = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            try:
                return self._store.put(name, data)
            except StoreError:
                if time.monotonic() + pause > gives_up or self._hurry.wait(pause):
                    raise
                pause *= 2

    def _encode(self, key: ImageKey, pixels: Pixels) -> bytes:
        if key.form == "webp":
            return encode_webp(pixels)
        metadata = reproduction_metadata(
            self._bundle.name,
            self._bundle.content_hash,
            key.seed,
            key.steps,
            key.sampler,
            key.after,
            self._kind(key),
        )
        return encode_png(pixels, metadata)

    def _name(self, key: ImageKey) -> str:
        return key.name(self._bundle.revision)

    def _record(self, key: ImageKey, data: bytes) -> ImageRecord:
        size, digest = self._bundle.image_size, hashlib.sha256(data).hexdigest()
        return ImageRecord(key.seed, self._name(key), size, size, len(data), digest, self._kind(key))

    def _kind(self, key: ImageKey) -> str:
        """Frames of a morph, those at its ends as well, are of none: they are on the way from one kind to another."""
        return "" if key.form == "webp" else key.kind or self._bundle.kind_of(key.seed)


def _is_whole(key: ImageKey, data: bytes, image_size: int) -> bool:
    return is_whole_webp(data) if key.form == "webp" else is_whole_png(data, image_size)
