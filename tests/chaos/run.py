"""A chaos run: queue, store, workers, client and storm in one loop."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import Final

import redis

from tests.chaos.audit import is_at_rest
from tests.chaos.client import Client
from tests.chaos.crew import Crew
from tests.chaos.plan import FaultKind, plan_faults, requests
from tests.chaos.storm import Leases, Queue, Store, Storm
from worker.protocol import READY_KEY_PATTERN

LEASES: Final = {
    "short": Leases(lease=3, beat=0.7, maintenance=1.0, drain=2.0, store=1.0),
    "default": Leases(lease=15, beat=3.0, maintenance=3.0, drain=30.0, store=5.0),
}

_JOBS_A_MINUTE: Final = 150
"""What faults are planned for, when a run is as long as it is told."""
_STALLED_SECONDS: Final = 180.0
_PASS_SECONDS: Final = 0.03
_TELL_SECONDS: Final = 15.0


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What a run is told. With `minutes` it goes on for so long, whatever `jobs` says."""

    seed: int = 1
    jobs: int = 1000
    minutes: float | None = None
    leases: str = "short"
    workers: int = 3
    in_flight: int = 40
    fresh: bool = False


class Run:
    """A run in a folder of its own, which must be empty."""

    def __init__(self, options: Options, folder: Path, bundle: Path) -> None:
        self.options = options
        self.leases = LEASES[options.leases]
        self.store = Store(folder)
        self.queue = Queue(folder)
        environment = self.leases.environment | {
            "BOUQUET_REDIS_URL": self.queue.url,
            "BOUQUET_STORE": str(self.store.link),
            "BOUQUET_BUNDLE": str(bundle),
        }
        self.crew = Crew(folder, environment, options.workers, fresh=options.fresh)
        self.client = Client(self.queue.url, options.seed, requests(options.seed), options.in_flight)
        jobs = options.jobs if options.minutes is None else options.minutes * _JOBS_A_MINUTE
        faults = plan_faults(options.seed, jobs / 1000)
        self.storm = Storm(faults, self.crew, self.client, self.queue, self.store, self.leases)
        self.stalled = False
        self.seconds = 0.0
        """From the first worker that was ready to the end of the last job."""
        self._began = self._told = time.monotonic()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.options.minutes is not None:
            return min(1.0, self._elapsed / (60 * self.options.minutes))
        return self.client.ended / self.options.jobs

    def begin(self) -> None:
        """Starts queue and workers."""
        self.queue.start()
        while not any(worker.ready for worker in self.crew.running) and not self.crew.troubles:
            self._tend()
            time.sleep(_PASS_SECONDS)
        self._began = self._told = time.monotonic()

    def weather_the_storm(self) -> None:
        """Goes on until all jobs have ended and all faults have struck, or until nothing moves any more."""
        ended, moved_at = 0, time.monotonic()
        while not self.stalled:
            answers = self.client.look()
            self._tend()
            if self.options.minutes is None:
                most = self.options.jobs
            else:
                most = sys.maxsize if self.share < 1 else self.client.accepted
            if answers:
                self.client.act(most)
            self.storm.go_on(self.share)
            if answers and self.storm.is_over and self.client.ended >= most:
                self.seconds = self._elapsed
                return
            if self.client.ended != ended:
                ended, moved_at = self.client.ended, time.monotonic()
            self.stalled = time.monotonic() - moved_at > _STALLED_SECONDS
            self._tell()
            time.sleep(_PASS_SECONDS)

    def come_to_rest(self) -> None:
        """Waits until the workers have cleared up behind the last job, and stops them."""
        gives_up = time.monotonic() + 3 * self.leases.lease + 10
        while not is_at_rest(self.client.redis) and time.monotonic() < gives_up:
            self._tend()
            self.storm.go_on(1.0)
            time.sleep(_PASS_SECONDS)
        self.crew.stop(self.leases.drain + 30)

    def close(self) -> None:
        """Ends all processes."""
        self.crew.close()
        self.client.redis.close()
        self.queue.send(signal.SIGCONT)
        self.queue.end(signal.SIGTERM)

    def _tend(self) -> None:
        ready: list[bytes] = []
        if any(not worker.ready for worker in self.crew.running):
            with contextlib.suppress(redis.RedisError):
                ready = list(self.client.redis.scan_iter(READY_KEY_PATTERN, count=1000))
        self.crew.tend(ready)

    def _tell(self) -> None:
        if time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            struck = ", ".join(
                f"{self.storm.struck[kind]} {kind.name}" for kind in FaultKind if self.storm.struck[kind]
            )
            print(
                f"{self._elapsed:4.0f} s: {self.client.ended} of {self.client.accepted} jobs ended, "
                f"{len(self.crew.free)} workers ready, {self.storm.left} faults to come; {struck}",
                flush=True,
            )
