from pathlib import Path

import pytest

from model.bundle import Bundle, load_bundle
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = tmp_path_factory.mktemp("bundle") / "tiny.safetensors"
    return load_bundle(make_tiny_bundle(path))


@pytest.fixture(scope="session")
def sampler(tiny_bundle: Bundle) -> Sampler:
    return Sampler(tiny_bundle)
