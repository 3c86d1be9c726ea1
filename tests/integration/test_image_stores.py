"""What every image store must do, held against a folder and a real S3 server; and what can go wrong with S3 alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faulty_proxy import FaultyProxy
from tests.s3_server import BUCKET, S3Server
from worker.protocol import ProtocolError
from worker.store import ImageStore, StoreError, open_store

NAME = "0123456789ab-7-20.png"
KEY = f"0123456789ab/07/{NAME}"
FLOWER = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40 + b"IEND\xaeB`\x82"
OTHER = b"\x89PNG\r\n\x1a\n" + bytes(range(255, -1, -1)) * 40 + b"IEND\xaeB`\x82"

OpenStore = Callable[[], ImageStore]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3") / "log")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        yield server
    server.close()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A place in the bucket that no other test uses."""
    return str(request.node.name).translate(str.maketrans("[]/", "---"))


@pytest.fixture(params=["directory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path, s3: S3Server, prefix: str) -> str:
    return str(tmp_path / "images") if request.param == "directory" else f"s3://{BUCKET}/{prefix}"


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3.address)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    yield proxy
    proxy.close()


def test_what_is_put_can_be_got(location: str) -> None:
    store = open_store(location)
    assert store.get(NAME) is None
    assert not store.exists(NAME)
    store.put(NAME, FLOWER)
    store.put(NAME, FLOWER)
    assert store.get(NAME) == FLOWER
    assert store.exists(NAME)
    store.delete(NAME)
    store.delete(NAME)
    assert not store.exists(NAME)
    assert store.get(NAME) is None


def test_all_who_open_it_see_the_same(location: str) -> None:
    open_store(location).put(NAME, FLOWER)
    assert open_store(location).get(NAME) == FLOWER


def test_images_do_not_meet(location: str) -> None:
    store = open_store(location)
    names = [f"0123456789ab-{seed}-{steps}.png" for seed in (7, 263) for steps in (2, 20)]
    for name in names:
        store.put(name, FLOWER + name.encode())
    assert [store.get(name) for name in names] == [FLOWER + name.encode() for name in names]


def test_a_damaged_image_is_replaced(location: str) -> None:
    store = open_store(location)
    store.put(NAME, FLOWER[:1000])
    store.put(NAME, FLOWER)
    assert store.get(NAME) == FLOWER


@pytest.mark.parametrize("name", ["", "x.png", "../../../etc/passwd", "0123456789ab-7-20.png/.."])
def test_a_name_that_is_none_reaches_nothing(location: str, name: str) -> None:
    store = open_store(location)
    for call in (store.get, store.exists, store.delete, lambda name: store.put(name, FLOWER)):
        with pytest.raises(ProtocolError):
            call(name)


def test_many_may_write_and_read_at_the_same_time(location: str) -> None:
    store = open_store(location)

    def write_and_read(_: int) -> bytes | None:
        store.put(NAME, FLOWER)
        return store.get(NAME)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write_and_read, range(24))) == [FLOWER] * 24


# --- S3 ---


def test_an_object_is_an_image_that_never_changes(s3: S3Server, prefix: str) -> None:
    store = open_store(f"s3://{BUCKET}/{prefix}/")
    store.put(NAME, FLOWER)
    head = s3.client().head_object(Bucket=BUCKET, Key=f"{prefix}/{KEY}")
    assert (head["ContentType"], head["ContentLength"]) == ("image/png", len(FLOWER))
    assert "immutable" in head["CacheControl"]
    store.put(NAME, OTHER)
    assert store.get(NAME) == FLOWER, "a worker that comes late must not change what others may have served"


def test_calls_that_fail_now_and_then_are_made_again(s3: S3Server, proxy: FaultyProxy, prefix: str) -> None:
    store = open_store(f"s3://{BUCKET}/{prefix}")
    proxy.share = 0.2
    refused = 0

    def insist(seed: int) -> bool:
        nonlocal refused
        name = f"0123456789ab-{seed}-20.png"
        for _ in range(20):
            try:
                store.put(name, FLOWER)
                return store.get(name) == FLOWER and store.exists(name)
            except StoreError:
                refused += 1
        return False

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(insist, range(40)))
    assert len(proxy.struck) == 5, f"all kinds of faults were met: {proxy.struck}"
    assert refused < sum(proxy.struck.values()) / 3, "most of them were mended by the store itself"
    assert s3.get(f"{prefix}/0123456789ab/05/0123456789ab-5-20.png") == FLOWER


def test_one_that_does_not_answer_says_so_and_what_to_check(proxy: FaultyProxy, prefix: str) -> None:
    store = open_store(f"s3://{BUCKET}/{prefix}")
    proxy.down = True
    with pytest.raises(StoreError, match=rf"Cannot write s3://{BUCKET}/.*: \w+Error.* BOUQUET_STORE"):
        store.put(NAME, FLOWER)
    assert proxy.calls > 1
    proxy.down = False
    store.put(NAME, FLOWER)
    assert store.get(NAME) == FLOWER


def test_one_that_hangs_is_not_waited_for(s3: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker import s3_store

    monkeypatch.setattr(s3_store, "_READ_SECONDS", 0.5)
    store = open_store(f"s3://{BUCKET}/{prefix}")
    s3.freeze()
    try:
        with pytest.raises(StoreError, match=r"Cannot read .*: ReadTimeoutError"):
            store.get(NAME)
    finally:
        s3.thaw()
    assert s3.get(f"{prefix}/{KEY}") is None  # waits until what has piled up is answered
    assert store.get(NAME) is None


def test_a_bucket_that_is_not_there_is_no_empty_store(s3: S3Server) -> None:
    store = open_store("s3://no-such-bucket")
    for call in (store.get, lambda name: store.put(name, FLOWER)):
        with pytest.raises(StoreError, match=r"s3://no-such-bucket/.*: NoSuchBucket \(HTTP 404\)"):
            call(NAME)


@pytest.mark.parametrize("location", ["s3://", "s3:///prefix", "s3://Bucket", "s3://a b/c"])
def test_a_location_that_is_none_is_refused(location: str) -> None:
    with pytest.raises(StoreError, match="BOUQUET_STORE: must be s3://<bucket>"):
        open_store(location)


def test_empty_variables_count_as_not_set(s3: S3Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """docker-compose.yml hands over those that nobody gave a value."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "")
    store = open_store(f"s3://{BUCKET}/{prefix}")
    store.put(NAME, FLOWER)
    assert store.get(NAME) == FLOWER
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
    with pytest.raises(StoreError, match="NoCredentialsError"):
        open_store(f"s3://{BUCKET}/{prefix}").get(NAME)


def test_without_its_library_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['boto3'] = None\n"
        "from worker.store import StoreError, open_store\n"
        "try: open_store('s3://flowers')\n"
        "except StoreError as error: print(error)\n"
    )
    assert "pip install 'bouquet[s3]'" in subprocess.check_output([sys.executable, "-c", code], text=True)
