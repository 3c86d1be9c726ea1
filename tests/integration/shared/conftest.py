"""One Valkey, one store and one front end for all tests of a file, emptied before each test.

A file may say how its front end is set: `FRONT_END = {"queue_limit": 700}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.front_end import FrontEnd
from tests.shared_parts import SharedParts
from tests.valkey_server import ValkeyServer


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedParts]:
    with SharedParts(tmp_path_factory.mktemp("shared"), **getattr(request.module, "FRONT_END", {})) as parts:
        yield parts


@pytest.fixture
def valkey(shared: SharedParts) -> ValkeyServer:
    shared.empty()
    return shared.valkey


@pytest.fixture
def store_folder(shared: SharedParts) -> Path:
    return shared.store


@pytest.fixture
def front_end(shared: SharedParts, valkey: ValkeyServer) -> FrontEnd:
    return shared.front_end


@pytest.fixture
def api(front_end: FrontEnd) -> httpx.Client:
    return front_end.api
