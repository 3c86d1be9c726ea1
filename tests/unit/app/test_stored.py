import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.stored import png_size, stored_result
from worker.directory_store import DirectoryStore
from worker.protocol import GenerationRequest, GenerationResult, image_name

REVISION = "0123456789ab"
HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def picture(seed: int) -> bytes:
    return HEADER + struct.pack(">II", 64, 48) + bytes([8, 2, 0, 0, 0]) + str(seed).encode()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path)
    for seed in (5, 6, 7):
        store.put(image_name(REVISION, seed, 20), picture(seed))
    return store


def test_a_request_that_is_all_there(store: DirectoryStore) -> None:
    result = stored_result(store, REVISION, GenerationRequest(steps=20, seed=5, count=3))
    assert result is not None
    assert [image.seed for image in result.images] == [5, 6, 7]
    [_, image, _] = result.images
    assert (image.width, image.height, image.bytes) == (64, 48, len(picture(6)))
    assert image.sha256 == hashlib.sha256(picture(6)).hexdigest()
    assert GenerationResult.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    ("revision", "steps", "seed", "count"),
    [(REVISION, 20, 4, 2), (REVISION, 20, 6, 3), (REVISION, 21, 5, 1), ("ba9876543210", 20, 5, 1)],
)
def test_one_that_is_not(store: DirectoryStore, revision: str, steps: int, seed: int, count: int) -> None:
    assert stored_result(store, revision, GenerationRequest(steps=steps, seed=seed, count=count)) is None


def test_an_image_by_another_sampler_is_another_image(store: DirectoryStore) -> None:
    request = GenerationRequest(steps=20, seed=5, sampler="multistep")
    assert stored_result(store, REVISION, request) is None
    store.put(image_name(REVISION, 5, 20, "multistep"), picture(5))
    result = stored_result(store, REVISION, request)
    assert result is not None
    assert result.images[0].name == f"{REVISION}-5-20-multistep.png"


def test_a_damaged_image_is_made_again(store: DirectoryStore) -> None:
    store.path(image_name(REVISION, 6, 20)).write_bytes(b"")
    assert stored_result(store, REVISION, GenerationRequest(steps=20, seed=5, count=3)) is None


@given(st.binary(max_size=40) | st.binary(max_size=20).map(lambda tail: HEADER + tail))
def test_the_size_of_anything(data: bytes) -> None:
    size = png_size(data)
    assert size is None or (size[0] > 0 and size[1] > 0)
