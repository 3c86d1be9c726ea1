"""The service as people run it: `bouquet serve` with a real Valkey, real workers and a tiny bundle."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serving import ROOT, Serve

ELSEWHERE = "ACCEPTANCE_URL"
"""A service that runs already, with the tiny bundle: then only the tests that use it are run (tests/many_hosts.py)."""

WRITE_BUNDLE = (
    "import sys, pathlib; from tests.bundles import make_tiny_bundle as m; m(pathlib.Path(sys.argv[1]), classes=3)"
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Passes over the tests that start a service of their own, if there is one elsewhere to be tested."""
    if ELSEWHERE not in os.environ:
        return
    others = [item for item in items if "service" not in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by a process of its own: the tests here need no TensorFlow."""
    path = tmp_path_factory.mktemp("bundle") / "tiny.safetensors"
    subprocess.run([sys.executable, "-c", WRITE_BUNDLE, str(path)], cwd=ROOT, check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Iterator[str]:
    """The URL of a whole service, ready to make flowers of 16 x 16 pixels."""
    if (url := os.environ.get(ELSEWHERE)) is not None:
        yield url
        return
    home = tmp_path_factory.mktemp("home")
    with Serve(home, env={"BOUQUET_BUNDLE": str(tiny_bundle), "BOUQUET_QUEUE_LIMIT": "200000"}) as serve:
        yield serve.wait_until_ready()


@pytest.fixture
def api(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=60.0) as client:
        yield client


@pytest.fixture(scope="session")
def idle_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service without a worker: what is queued stays queued. 2000 image-steps may wait."""
    home = tmp_path_factory.mktemp("idle")
    settings = {
        "BOUQUET_QUEUE_LIMIT": "2000",
        "BOUQUET_WAIT_LIMIT": "2",
        "BOUQUET_CORS_ORIGINS": "https://garden.example",
    }
    with Serve(home, "--workers", "0", env=settings) as serve:
        yield serve.wait_until_live()


@pytest.fixture
def idle(idle_service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=idle_service, timeout=30.0) as client:
        yield client
        for job in client.get("/jobs", params={"status": "queued", "limit": 100}).json()["jobs"]:
            client.delete(f"/jobs/{job['id']}")
