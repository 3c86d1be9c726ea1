"""`python -m worker`: one worker, or one for each GPU, until it is told to stop."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from worker.logs import set_up_logging
from worker.settings import SettingsError, WorkerSettings

if TYPE_CHECKING:
    from worker.batch_worker import OpenWorkshop

    WorkshopOpener = Callable[[WorkerSettings], OpenWorkshop]

UNUSABLE_EXIT_CODE: Final = 2
"""Settings or a bundle that cannot be used: starting again cannot help."""
UNREACHABLE_EXIT_CODE: Final = 69
"""The queue's Redis does not answer (EX_UNAVAILABLE of sysexits.h)."""
INTERRUPTED_EXIT_CODE: Final = 130
_REDIS_PATIENCE_SECONDS: Final = 30.0
_SWITCH_SECONDS: Final = 0.0005
"""How long a thread that runs Python keeps others waiting, and a tick with them: a tenth of what is usual."""


def main(arguments: Sequence[str] = ()) -> int:
    """Runs a worker with command-line options; returns 0 after an orderly end, else see here and batch_worker.py."""
    options = _parse(arguments)
    try:
        settings = WorkerSettings.from_environ(
            home=options.home, redis_url=options.redis_url, bundle=options.bundle, slots=options.slots
        )
    except SettingsError as error:
        print(f"bouquet worker: {error}", file=sys.stderr)
        return UNUSABLE_EXIT_CODE
    if options.devices is None:
        return run(settings, options.name, burst=options.burst)
    return _run_on_devices(options, settings, arguments)


def _run_on_devices(options: argparse.Namespace, settings: WorkerSettings, arguments: Sequence[str]) -> int:
    """Runs a worker for each GPU: this very command, without `--devices`."""
    import asyncio

    from worker.device_workers import DeviceWorkers
    from worker.devices import DevicesError, choose_devices

    try:
        devices = choose_devices(options.devices)
    except DevicesError as error:
        print(f"bouquet worker: {error}", file=sys.stderr)
        return UNUSABLE_EXIT_CODE
    ours = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--devices", "--name"):
        ours.add_argument(option)
    command = [sys.executable, "-m", "worker", *ours.parse_known_args(arguments)[1]]
    return asyncio.run(DeviceWorkers(command, options.name, devices, settings.drain_seconds).run())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bouquet worker", description=__doc__, allow_abbrev=False)
    parser.add_argument("--home", type=Path, help="folder of the images (BOUQUET_HOME)")
    parser.add_argument("--redis-url", metavar="URL", help="the queue's Redis or Valkey (BOUQUET_REDIS_URL)")
    parser.add_argument("--bundle", type=Path, help="the bundle to serve (BOUQUET_BUNDLE)")
    parser.add_argument("--slots", type=int, metavar="N", help="images computed at the same time (BOUQUET_SLOTS)")
    parser.add_argument("--name", default=socket.gethostname(), help="what the worker's name begins with")
    parser.add_argument(
        "--devices", metavar="all|0,1,...", help="one worker process for each of these GPUs (one for whatever there is)"
    )
    parser.add_argument("--burst", action="store_true", help="end when the queue is empty")
    return parser.parse_args(arguments)


def run(
    settings: WorkerSettings, name: str, open_workshop: WorkshopOpener | None = None, *, burst: bool = False
) -> int:
    """Runs a worker whose name begins with `name`; `open_workshop` replaces that of worker/opening.py."""
    set_up_logging(settings.log_level, settings.log_format)
    connection = redis.Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=5.0,
        socket_timeout=10.0,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=3),
    )
    try:
        if not _wait_for(connection):
            print("bouquet worker: the queue's Redis does not answer; check BOUQUET_REDIS_URL.", file=sys.stderr)
            return UNREACHABLE_EXIT_CODE
        return _work(settings, name, connection, open_workshop, burst=burst)
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    finally:
        connection.close()


def _work(
    settings: WorkerSettings, name: str, connection: redis.Redis, open_workshop: WorkshopOpener | None, *, burst: bool
) -> int:
    # Imported here, since TensorFlow takes seconds, and whatever can be refused should be before that.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from model.bundle import BundleError
    from worker.batch_worker import BROKEN_EXIT_CODE, BatchWorker
    from worker.engine import EngineError
    from worker.opening import open_workshop as open_production_workshop
    from worker.store import StoreError

    sys.setswitchinterval(_SWITCH_SECONDS)
    opener = open_workshop or open_production_workshop
    unique_name = f"{name}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    worker = BatchWorker(settings, connection, unique_name, lambda: opener(settings))
    try:
        with _retention(settings, connection):
            worker.work(burst=burst, logging_level=None)
    except (BundleError, StoreError) as error:
        print(f"bouquet worker: {error}", file=sys.stderr)
        return UNUSABLE_EXIT_CODE
    except EngineError as error:
        print(f"bouquet worker: {error}", file=sys.stderr)
        return BROKEN_EXIT_CODE
    return worker.exit_code


def _retention(settings: WorkerSettings, connection: redis.Redis) -> contextlib.AbstractContextManager[object]:
    """What keeps the store to its size, if it is one that we keep."""
    from worker.directory_store import DirectoryStore
    from worker.retention import Retention
    from worker.store import open_store

    store = open_store(settings.store_location)
    if not isinstance(store, DirectoryStore):
        return contextlib.nullcontext()
    return Retention(store.root, settings.images_max_bytes, connection)


def _wait_for(connection: redis.Redis) -> bool:
    """Whether Redis answers, within half a minute: it may be starting just as we are."""
    gives_up = time.monotonic() + _REDIS_PATIENCE_SECONDS
    while time.monotonic() < gives_up:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            return bool(connection.ping())
        time.sleep(0.2)
    return False


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    # All is booked and signed off. Taking TensorFlow apart object by object would be seconds more, of whoever waits.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
