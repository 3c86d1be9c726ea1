"""Fixtures of real parts: a Valkey, a tiny bundle, and worker processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs, WorkerProcess

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(scope="session")
def tiny_bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.bundles import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


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


@pytest.fixture
def start_worker(
    valkey: ValkeyServer, client: redis.Redis, tmp_path: Path, tiny_bundle_path: Path, store_folder: Path
) -> Iterator[StartWorker]:
    """Starts workers that are ended with the test; keywords are settings, say slots=4. `ready=False` does not wait."""
    started: list[WorkerProcess] = []
    numbers = itertools.count(1)

    def start(*, ready: bool = True, command: tuple[str, ...] = ("-m", "worker"), **settings: object) -> WorkerProcess:
        name = f"worker{next(numbers)}"
        environment = {
            "BOUQUET_REDIS_URL": valkey.url,
            "BOUQUET_STORE": str(store_folder),
            "BOUQUET_BUNDLE": str(tiny_bundle_path),
        } | {f"BOUQUET_{setting.upper()}": str(value) for setting, value in settings.items()}
        worker = WorkerProcess(name, tmp_path / f"{name}.log", environment, command)
        started.append(worker)
        if ready:
            poll(lambda: worker.is_ready(client), f"{name} is ready", 90)
        return worker

    yield start
    for worker in started:
        worker.close()
