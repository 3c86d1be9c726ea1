"""A Valkey, a store and a front end for all tests of a file: to start them for each costs more than most tests do."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.front_end import FrontEnd
from tests.processes import poll
from tests.valkey_server import ValkeyServer


class SharedParts:
    """Runs them while in the context. Keywords are the front end's settings; its counters and its log go on growing."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self._folder = folder
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self.store = folder / "images"
        self.valkey = ValkeyServer(folder / "queue")
        self.front_end: FrontEnd

    def __enter__(self) -> Self:
        self.valkey.start()
        self._stack.callback(self.valkey.close)
        front_end = FrontEnd(self._folder / "front", self.valkey.url, self.store, **self._settings)  # type: ignore[arg-type]
        self.front_end = self._stack.enter_context(front_end)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def empty(self) -> None:
        """Forgets all jobs, workers and images, for the next test. No worker may be running."""
        with self.valkey.connect() as client:
            client.flushall()
        shutil.rmtree(self.store, ignore_errors=True)
        poll(self._is_empty, "the front end sees that nothing is there")

    def _is_empty(self) -> bool:
        found = self.front_end.api.get("/metrics").text.splitlines()
        return {"bouquet_workers_ready 0.0", "bouquet_queue_jobs 0.0", "bouquet_redis_up 1.0"} <= set(found)
