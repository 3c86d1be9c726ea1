"""What a front end counts of itself, and what it tells of the whole service at `/metrics`.

Three kinds of figures in one answer, all in Prometheus' text format or OpenMetrics, as the scraper likes:

- this front end's: requests, times, memory. Each front end has its own; add them up. Processes that share a port are
  one front end and count together; what is of one process alone, such as its memory, they leave out.
- the queue's: the same at every front end; take the largest, not the sum.
- the workers', each with a label `worker`: also the same at every front end.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import redis.exceptions
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from worker.protocol import STORE_FIGURES_KEY, WORKER_METRICS_INDEX, worker_metrics_key, worker_ready_key

if TYPE_CHECKING:
    import redis.asyncio

    from app.queue_load import LoadMeter, QueueLoad

    AsyncRedis = redis.asyncio.Redis

log = logging.getLogger("bouquet.api")

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
_REDIS_SECONDS: Final = 2.0
_MAX_BYTES: Final = 1 << 20
"""Of a worker's figures: what is longer is not from a worker of ours."""


class FrontEndMetrics:
    """The figures of one front end."""

    def __init__(self, folder: Path | None = None) -> None:
        """`folder`: where several processes of it count together (app/common_figures.py); None: there is but one."""
        # Else every counter and histogram had one more series, which nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = shown = CollectorRegistry()
        if folder is None:
            ProcessCollector(registry=self.registry)
        else:
            shown = CollectorRegistry()
            shown.register(_CommonFigures(folder))
        self.shown = shown
        """What a scrape is answered with."""
        PlatformCollector(registry=shown)
        self._requests = Counter(
            "bouquet_http_requests",
            "Answers, by the template of their route.",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "bouquet_http_request_duration_seconds",
            "Time until an answer begins. Left out: requests that asked to wait for their job.",
            ("route", "method"),
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._problems = Counter(
            "bouquet_http_problems", "Answers that are errors, by their code.", ("code",), registry=self.registry
        )
        self._accepted = Counter(
            "bouquet_jobs_accepted",
            "Jobs accepted: queued, or stored (done at once, since all images were in the store).",
            ("as",),
            registry=self.registry,
        )
        self._pictures = Counter(
            "bouquet_picture_requests",
            "Pictures asked for at their addresses: hit (in the store) or miss (computed, or not to be had).",
            ("cache",),
            registry=self.registry,
        )
        self._readers = Gauge(
            "bouquet_event_readers",
            "Event streams that are open.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        for outcome in ("queued", "stored"):  # at 0 from the start: a rate needs a value before the first event
            self._accepted.labels(outcome)
        for outcome in ("hit", "miss"):
            self._pictures.labels(outcome)

    def readers_changed(self, change: int) -> None:
        """So many event streams were opened; below 0: closed."""
        self._readers.inc(change)

    def answered(self, route: str, method: str, status: int, seconds: float | None, problem: str | None) -> None:
        """A request has been answered; `seconds` until the answer began, None if it does not count."""
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(route, method).observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()

    def accepted(self, *, stored: bool) -> None:
        """A job was accepted; `stored` if it was done at once."""
        self._accepted.labels("stored" if stored else "queued").inc()

    def picture(self, *, hit: bool) -> None:
        """A picture was asked for, and was in the store or not."""
        self._pictures.labels("hit" if hit else "miss").inc()


class _CommonFigures(MultiProcessCollector):
    """As prometheus_client's, which fails at a file that has been made in this moment and holds nothing yet."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        files = [str(path) for path in self._folder.glob("*.db") if _has_begun(path)]
        return self.merge(files)  # type: ignore[no-untyped-call, no-any-return]


def _has_begun(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # of a process that has ended
        return False


class Exposition:
    """Answers `/metrics`."""

    def __init__(self, metrics: FrontEndMetrics, connection: AsyncRedis, meter: LoadMeter, queue_limit: int) -> None:
        self._metrics = metrics
        self._redis = connection
        self._meter = meter
        self._limit = queue_limit

    async def write(self, accept: str) -> tuple[bytes, str]:
        """The body and its media type, as the scraper's `Accept` prefers it; without Redis, what there is."""
        families: list[Metric] = []
        texts: dict[str, tuple[bytes, bool]] = {}
        is_up = True
        try:
            async with asyncio.timeout(_REDIS_SECONDS):
                load = await self._meter.look(max_age=0)
                texts, stored = await self._read_workers()
            families += [*self._of_queue(load), *_of_store(stored)]
        except (redis.exceptions.RedisError, TimeoutError, OSError) as error:
            log.warning("The figures of queue and workers cannot be read: %s", error)
            is_up = False
        families.append(_gauge("bouquet_redis_up", "Whether the queue's Redis answers.", float(is_up)))
        encode, media_type = choose_encoder(accept)

        def text() -> bytes:
            snapshot = _Snapshot(self._metrics.shown, [*families, *_of_workers(texts)])
            return encode(cast("CollectorRegistry", snapshot))

        # In a thread: it takes some milliseconds a worker, in which nobody else would be answered.
        return await asyncio.to_thread(text), media_type

    async def _read_workers(self) -> tuple[dict[str, tuple[bytes, bool]], Mapping[bytes, bytes]]:
        """Each worker's figures, and whether it is alive; and what the janitor knows of the store."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.zrangebyscore(WORKER_METRICS_INDEX, time.time(), "+inf")
            pipeline.hgetall(STORE_FIGURES_KEY)
            names, stored = await pipeline.execute()
        texts: dict[str, tuple[bytes, bool]] = {}
        if workers := [name.decode() for name in names]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for name in workers:
                    pipeline.get(worker_metrics_key(name))
                    pipeline.exists(worker_ready_key(name))
                answers: Sequence[Any] = await pipeline.execute()
            for name, text, is_alive in zip(workers, answers[::2], answers[1::2], strict=True):
                if text is not None:
                    texts[name] = (text, bool(is_alive))
        return texts, stored

    def _of_queue(self, load: QueueLoad) -> Iterator[Metric]:
        figures = {
            "bouquet_queue_jobs": ("Jobs that wait in the queue.", load.jobs),
            "bouquet_queue_image_steps": ("Image-steps that wait in the queue.", load.waiting),
            "bouquet_queue_limit_image_steps": ("Image-steps that may wait before requests are refused.", self._limit),
            "bouquet_running_image_steps": ("Image-steps left of the jobs that workers have begun.", load.running),
            "bouquet_workers_ready": ("Workers that are warmed up and alive.", load.workers),
            "bouquet_capacity_image_steps_per_second": (
                "Image-steps a second that the workers which are ready measured.",
                load.rate,
            ),
        }
        for name, (text, value) in figures.items():
            yield _gauge(name, text, float(value))


def _of_store(fields: Mapping[bytes, bytes]) -> Iterator[Metric]:
    for field, (name, text) in {
        b"bytes": ("bouquet_store_bytes", "Size of all images in the store, when it was last looked through."),
        b"images": ("bouquet_store_images", "Images in the store, when it was last looked through."),
        b"limit_bytes": ("bouquet_store_limit_bytes", "Size that the store is kept to; 0: no limit."),
    }.items():
        if field in fields:
            yield _gauge(name, text, float(fields[field]))
    removed = float(fields.get(b"removed", 0))
    yield CounterMetricFamily("bouquet_store_removed_images", "Images removed to keep to the limit.", value=removed)


def _of_workers(texts: Mapping[str, tuple[bytes, bool]]) -> list[Metric]:
    """All workers' families, merged by name. Of a worker that is gone the counters alone: its gauges are no more."""
    merged: dict[str, Metric] = {}
    for worker, (text, is_alive) in sorted(texts.items()):
        try:
            families = list(text_string_to_metric_families(_unpack(text)))
        except (ValueError, zlib.error) as error:
            log.warning("The figures of worker %s cannot be read: %s", worker, error)
            continue
        for family in families:
            if family.type == "gauge" and not is_alive:
                continue
            target = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                target.add_sample(sample.name, {"worker": worker} | sample.labels, sample.value)
    return list(merged.values())


def _unpack(text: bytes) -> str:
    return zlib.decompressobj().decompress(text, _MAX_BYTES).decode()


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


class _Snapshot:
    """What an encoder takes for a registry: this front end's figures, and those just read."""

    def __init__(self, registry: CollectorRegistry, families: Sequence[Metric]) -> None:
        self._registry = registry
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        yield from self._families
