import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from worker.directory_store import DirectoryStore
from worker.protocol import ProtocolError
from worker.store import StoreError, open_store

NAME = "0123456789ab-7-20.png"


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_what_is_put_can_be_got(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "images")
    assert store.get(NAME) is None
    assert not store.exists(NAME)
    store.put(NAME, b"flower")
    store.put(NAME, b"flower")
    assert store.get(NAME) == b"flower"
    assert store.exists(NAME)
    assert len(files(tmp_path)) == 1
    store.delete(NAME)
    store.delete(NAME)
    assert not store.exists(NAME)


def test_a_store_touches_nothing_before_the_first_image(tmp_path: Path) -> None:
    open_store(tmp_path / "images").exists(NAME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "x.png", "../../../etc/passwd", "0123456789ab-7-20.png/.."])
def test_a_name_that_is_none_reaches_no_file(tmp_path: Path, name: str) -> None:
    store = DirectoryStore(tmp_path)
    for call in (store.get, store.exists, store.delete, lambda name: store.put(name, b"")):
        with pytest.raises(ProtocolError):
            call(name)
    assert files(tmp_path) == []


def test_a_store_that_cannot_be_written_says_which_and_why(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file where the folder should be")
    store = DirectoryStore(tmp_path / "images")
    with pytest.raises(StoreError, match=r"Cannot write .*/images/.*: Not a directory.* BOUQUET_STORE"):
        store.put(NAME, b"flower")
    with pytest.raises(StoreError, match="Cannot read"):
        store.get(NAME)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    # A process that may not write files of more than 1000 bytes stands in for a disk with no more room.
    code = (
        "import resource, signal, sys; from pathlib import Path; from worker.directory_store import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = DirectoryStore(Path(sys.argv[1]))\n"
        f"store.put('{NAME}', b'x' * 500)\n"
        f"try: store.put('{NAME}', b'y' * 5000)\n"
        "except StoreError as error: print(error)\n"
    )
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # noqa: E731
    output = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True, preexec_fn=limit)
    assert os.strerror(errno.EFBIG) in output
    assert [path.read_bytes() for path in files(tmp_path)] == [b"x" * 500]


def test_leftovers_of_killed_writers_are_swept_after_an_hour(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    assert store.sweep() == 0
    store.put(NAME, b"flower")
    leftover = tmp_path / ".incoming" / f"{NAME}.abc"
    leftover.write_bytes(b"half a flo")
    assert store.sweep() == 0
    assert store.sweep(now=lambda: leftover.stat().st_mtime + 3601) == 1
    assert not leftover.exists()
    assert store.get(NAME) == b"flower"


def test_a_store_is_opened_by_path_or_url(tmp_path: Path) -> None:
    for location in (str(tmp_path), tmp_path, f"file://{tmp_path}"):
        store = open_store(location)
        assert isinstance(store, DirectoryStore)
        assert store.root == tmp_path
    for location in ("ftp://x", ""):
        with pytest.raises(StoreError, match="BOUQUET_STORE"):
            open_store(location)
