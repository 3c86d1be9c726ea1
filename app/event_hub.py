"""Where all of a front end's watchers of jobs meet: whatever is learnt of a job once goes to all who watch it.

A job's status is read from where it is kept, several times a second for all watched jobs at once, so that no change is
missed, whoever made it: a worker, another front end, the recovery of a worker that died. Progress and previews come
over a channel of the job, to which its worker publishes while the job's watch key is there; the hub renews that key.
Nothing is done for jobs that nobody watches, by anyone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

import redis.asyncio
import redis.exceptions
from redis.asyncio.client import PubSub

from app import sse
from app.event_reader import EventReader, Sight
from app.job_moments import Moment
from app.job_queue import Glance, JobQueue
from app.job_view import job_view
from app.queue_load import LoadMeter
from app.schemas import JobStatus, PreviewImage, WatchedProgress
from worker.protocol import (
    MAX_COUNT,
    WATCH_SECONDS,
    Ended,
    Preview,
    Progress,
    ProtocolError,
    message_channel,
    read_message,
    watch_key,
)

if TYPE_CHECKING:
    AsyncRedis = redis.asyncio.Redis

log = logging.getLogger("bouquet.api")

LOOK_SECONDS: Final = 0.2
"""Between two looks at the status of all watched jobs."""

_SHARE_OF_TIME: Final = 0.25
"""At most this share of the time goes into looking, however many jobs are watched."""

_RENEW_SECONDS: Final = WATCH_SECONDS / 3
_QUEUE_SECONDS: Final = 1.0
"""Between two looks at the places of queued jobs."""

_QUEUE_SHARE_OF_TIME: Final = 0.1
"""At most this share of the time goes into those."""

_READ_AT_ONCE: Final = 100
_PAUSE_AFTER_ERROR: Final = 0.5


@dataclasses.dataclass(eq=False)
class _Watch:
    """A job that somebody here watches."""

    job_id: str
    readers: set[EventReader] = dataclasses.field(default_factory=set)
    glance: Glance = ()
    sight: Sight | None = None
    previews: dict[int, bytes] = dataclasses.field(default_factory=dict)
    """The latest event `preview` of each seed, of the present run."""
    is_stale: bool = True
    """Whether it must be read though its status may not have changed: somebody came, or a message did."""

    @property
    def is_alive(self) -> bool:
        """Whether it is known, and more is to come."""
        return self.sight is not None and not self.sight.moment.status.is_terminal


class EventHub:
    """One for each front end process. All methods belong to its event loop's thread."""

    def __init__(
        self,
        connection: AsyncRedis,
        queue: JobQueue,
        meter: LoadMeter,
        readers_changed: Callable[[int], None] = lambda change: None,
    ) -> None:
        """`readers_changed` is called with 1 for each reader that comes, and with -1 for each that goes."""
        self._redis = connection
        self._queue = queue
        self._meter = meter
        self._readers_changed = readers_changed
        self._watches: dict[str, _Watch] = {}
        self._news = asyncio.Event()
        self._channels: PubSub | None = None
        self._subscribed: set[str] = set()
        self._listener: asyncio.Task[None] | None = None
        self._renew_at = self._look_at = self._queue_at = 0.0
        self.is_closing = False
        """Whether `hang_up` has been called."""

    def join(self, job_id: str, seen: Moment | None) -> EventReader:
        """A reader that will be shown the job as it is, then each change. `leave` has to be called in the end.

        However many join at the same time, their jobs are read together.
        """
        reader = EventReader(seen)
        if self.is_closing:
            reader.end()
            return reader
        watch = self._watches.setdefault(job_id, _Watch(job_id))
        watch.readers.add(reader)
        self._readers_changed(1)
        self._mark_stale(watch)
        return reader

    def leave(self, job_id: str, reader: EventReader) -> None:
        """Forgets a reader, and the job with its last one. No error if that has been done."""
        if (watch := self._watches.get(job_id)) is not None and reader in watch.readers:
            watch.readers.remove(reader)
            self._readers_changed(-1)
            if not watch.readers:
                del self._watches[job_id]

    def hang_up(self) -> None:
        """Ends all readers, present and to come: the front end is about to stop. They may go on at another one."""
        self.is_closing = True
        for watch in self._watches.values():
            for reader in watch.readers:
                reader.end()

    async def run(self) -> None:
        """Serves the readers until it is cancelled."""
        try:
            while True:
                await self._wait()
                try:
                    await self._serve()
                except Exception as error:  # whatever it is, those who watch must not wait for ever
                    expected = isinstance(error, redis.exceptions.RedisError | OSError)
                    log.warning("Watched jobs cannot be looked at: %s", error, exc_info=not expected)
                    await self._drop_channels()
                    for watch in self._watches.values():
                        watch.is_stale = True
                        for reader in watch.readers:
                            reader.fail(error)
                    await asyncio.sleep(_PAUSE_AFTER_ERROR)
        finally:
            await self._drop_channels()

    async def _wait(self) -> None:
        """Until there is something to do: news, or the next look if anything is watched."""
        pause = max(self._look_at - time.monotonic(), 0.0) if self._watches else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._news.wait()
        self._news.clear()

    async def _serve(self) -> None:
        """One round: a look at those jobs that are due, subscriptions, and watch keys."""
        began = time.monotonic()
        everyone = list(self._watches.values())
        if looks_at_queue := began >= self._queue_at:
            for watch in everyone:
                watch.is_stale |= watch.sight is not None and watch.sight.job.status is JobStatus.QUEUED
        looks_at_all = began >= self._look_at
        await self._look(everyone if looks_at_all else [watch for watch in everyone if watch.is_stale])
        await self._subscribe()
        if began >= self._renew_at:
            self._renew_at = began + _RENEW_SECONDS
            await self._renew(self._subscribed)
        ended = time.monotonic()
        if looks_at_all:
            self._look_at = ended + max(LOOK_SECONDS, (ended - began) / _SHARE_OF_TIME)
        if looks_at_queue:
            self._queue_at = ended + max(_QUEUE_SECONDS, (ended - began) / _QUEUE_SHARE_OF_TIME)

    async def _look(self, watches: list[_Watch]) -> None:
        """Compares the jobs with what they were, and tells the readers of those that have changed."""
        for start in range(0, len(watches), _READ_AT_ONCE):
            batch = watches[start : start + _READ_AT_ONCE]
            glances = await self._queue.glance([watch.job_id for watch in batch])
            due = []
            for watch, glance in zip(batch, glances, strict=True):
                if watch.is_stale or glance != watch.glance:
                    watch.glance, watch.is_stale = glance, False
                    # Those who come while the job is being read are not told of it, but at the next look.
                    due.append((watch, list(watch.readers)))
            if due:
                await self._read(due)

    async def _read(self, due: list[tuple[_Watch, list[EventReader]]]) -> None:
        records = await self._queue.read_many([watch.job_id for watch, _ in due])
        load = await self._meter.look()
        for (watch, readers), record in zip(due, records, strict=True):
            if record is None:  # it has expired: who comes back is told so
                for reader in readers:
                    reader.end()
            else:
                self._tell(watch, readers, Sight(job_view(record, load), Moment.of(record)))

    def _tell(self, watch: _Watch, readers: list[EventReader], sight: Sight) -> None:
        before, watch.sight = watch.sight, sight
        if before is not None and before.moment.run not in (0, sight.moment.run):
            watch.previews.clear()
        has_moved = before is not None and before.moment == sight.moment and before.job.queue != sight.job.queue
        for reader in readers:
            reader.see(sight, watch.previews)
            if has_moved:
                reader.give_progress(sight.progress)

    def _hear(self, job_id: str, text: bytes) -> None:
        """Passes on what a worker says of a job."""
        if (watch := self._watches.get(job_id)) is None:
            return
        try:
            message = read_message(text)
        except ProtocolError as error:
            log.warning("A message about job %s cannot be read: %s", job_id, error)
            return
        following = [reader for reader in watch.readers if reader.follows_run]
        if isinstance(message, Preview):
            event = _preview_event(message)
            if message.seed in watch.previews or len(watch.previews) < MAX_COUNT:
                watch.previews[message.seed] = event
            for reader in following:
                reader.give_preview(message.seed, event)
        elif isinstance(message, Progress) and watch.sight is not None:
            event = _progress_event(message, watch.sight)
            for reader in following:
                reader.give_progress(event)
        if isinstance(message, Ended) or len(following) < len(watch.readers):
            self._mark_stale(watch)

    def _mark_stale(self, watch: _Watch) -> None:
        watch.is_stale = True
        self._news.set()

    async def _renew(self, job_ids: Iterable[str]) -> None:
        """Lets the workers know what is watched."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.set(watch_key(job_id), 1, ex=WATCH_SECONDS)
            await pipeline.execute()

    async def _subscribe(self) -> None:
        """Listens to the channels of all jobs that are watched and have not ended, and of no others."""
        if self._listener is not None and self._listener.done():
            await self._drop_channels()
        wanted = {job_id for job_id, watch in self._watches.items() if watch.is_alive}
        new, gone = wanted - self._subscribed, self._subscribed - wanted
        if new:
            if self._channels is None:
                self._channels = self._redis.pubsub(ignore_subscribe_messages=True)
            await self._channels.subscribe(*map(message_channel, new))
            self._subscribed |= new
            if self._listener is None:
                self._listener = asyncio.create_task(self._listen(self._channels))
            await self._renew(new)
        if gone and self._channels is not None:
            await self._channels.unsubscribe(*map(message_channel, gone))
            self._subscribed -= gone

    async def _listen(self, channels: PubSub) -> None:
        prefix = message_channel("")
        try:
            while True:
                message = await channels.get_message(timeout=None)
                if message is not None and message["type"] == "message":
                    self._hear(message["channel"].decode().removeprefix(prefix), message["data"])
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("The channels of watched jobs broke off: %s", error)
            for watch in self._watches.values():
                watch.is_stale = True
            self._news.set()

    async def _drop_channels(self) -> None:
        """Lets go of the connection; the next `_subscribe` makes a new one."""
        channels, listener = self._channels, self._listener
        self._channels = self._listener = None
        self._subscribed = set()
        if listener is not None:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
        if channels is not None:
            with contextlib.suppress(redis.exceptions.RedisError, OSError):
                await channels.aclose()


def _preview_event(preview: Preview) -> bytes:
    return sse.event("preview", PreviewImage(**dataclasses.asdict(preview)).model_dump_json())


def _progress_event(progress: Progress, sight: Sight) -> bytes:
    known = sight.job.progress
    shown = WatchedProgress(
        steps_done=min(progress.steps_done, known.steps_total),
        steps_total=known.steps_total,
        images_done=min(progress.images_done, sight.job.request.count),
        queue=None,
    )
    return sse.event("progress", shown.model_dump_json())
