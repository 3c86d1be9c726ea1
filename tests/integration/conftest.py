"""Fixtures of real parts: a Valkey, a tiny bundle, and worker processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.nursery import Nursery
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs, WorkerProcess

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(scope="session")
def tiny_bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.bundles import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors", classes=3)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path / "queue")
    server.start()
    yield server
    server.close()


@pytest.fixture
def client(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    with valkey.connect() as client:
        yield client


@pytest.fixture
def jobs(client: redis.Redis) -> Jobs:
    return Jobs(client)


@pytest.fixture
def store_folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def start_light_worker(
    valkey: ValkeyServer, client: redis.Redis, tmp_path: Path, store_folder: Path, nursery: Nursery
) -> Iterator[StartWorker]:
    """Starts light workers that are ended with the test; keywords are settings, say slots=4."""
    started: list[WorkerProcess] = []
    numbers = itertools.count(1)

    def start(*options: str, **settings: object) -> WorkerProcess:
        name = f"worker{next(numbers)}"
        environment = {"BOUQUET_REDIS_URL": valkey.url, "BOUQUET_STORE": str(store_folder)}
        environment |= {f"BOUQUET_{setting.upper()}": str(value) for setting, value in settings.items()}
        worker = WorkerProcess.start_light(nursery, name, tmp_path / f"{name}.log", environment, options)
        started.append(worker)
        poll(lambda: worker.is_ready(client), f"{name} is ready", 60)
        return worker

    yield start
    for worker in started:
        worker.close()
