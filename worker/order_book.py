"""Which jobs are here, which images each of them still waits for, and what has been delivered. No threads, no tensors.

An image that several jobs want is one image: it is asked for once, and delivered to all of them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import Final

from worker.protocol import FailureReason, GenerationRequest, GenerationResult, ImageRecord
from worker.trajectory import ImageKey


@dataclasses.dataclass(frozen=True, slots=True)
class Succeeded:
    """All images of a job are in the store."""

    job_id: str
    result: GenerationResult


@dataclasses.dataclass(frozen=True, slots=True)
class Failed:
    """A job cannot be done. `text` may hold a traceback."""

    job_id: str
    reason: FailureReason
    text: str = ""


JobEnd = Succeeded | Failed


@dataclasses.dataclass(slots=True)
class Order:
    """A job that is here. `wanted` and the keys of `records` are its images, none in both."""

    request: GenerationRequest
    wanted: set[ImageKey]
    began: float
    looked_up: bool = False
    records: dict[ImageKey, ImageRecord] = dataclasses.field(default_factory=dict)


_NOBODY: Final[frozenset[str]] = frozenset()


class OrderBook:
    """Keeps the orders. `revision` is that of the bundle whose images are delivered."""

    def __init__(self, revision: str) -> None:
        self._revision = revision
        self._orders: dict[str, Order] = {}
        self._wanted_by: dict[ImageKey, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._orders)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._orders

    @property
    def orders(self) -> Mapping[str, Order]:
        """All that are here, by the ids of their jobs."""
        return self._orders

    @property
    def wanted(self) -> Iterable[ImageKey]:
        """The images that somebody waits for."""
        return self._wanted_by.keys()

    def wanting(self, key: ImageKey) -> list[str]:
        """The jobs that wait for an image, in the order of their ids."""
        return sorted(self._wanted_by.get(key, _NOBODY))

    def open(self, job_id: str, request: GenerationRequest) -> tuple[ImageKey, ...]:
        """Takes a job in; returns its images. Raises ValueError if it is here already."""
        if job_id in self._orders:
            raise ValueError(f"job {job_id} is here already")
        keys = request.image_keys
        self._orders[job_id] = Order(request, set(keys), time.monotonic())
        for key in keys:
            self._wanted_by.setdefault(key, set()).add(job_id)
        return keys

    def drop(self, job_id: str) -> None:
        """Lets a job go. No error if it is not here."""
        if (order := self._orders.pop(job_id, None)) is not None:
            for key in order.wanted:
                self._no_longer_wanted(key, job_id)

    def deliver(self, job_id: str, key: ImageKey, record: ImageRecord) -> Succeeded | None:
        """Gives a job one of its images; with the last of them the job has succeeded, and is here no more."""
        order = self._orders[job_id]
        order.wanted.discard(key)
        order.records[key] = record
        self._no_longer_wanted(key, job_id)
        if order.wanted:
            return None
        del self._orders[job_id]
        images = tuple(order.records[key] for key in order.request.image_keys)
        seconds = time.monotonic() - order.began
        return Succeeded(job_id, GenerationResult(self._revision, images, round(seconds, 6)))

    def _no_longer_wanted(self, key: ImageKey, job_id: str) -> None:
        self._wanted_by[key].discard(job_id)
        if not self._wanted_by[key]:
            del self._wanted_by[key]
