"""Keeping a store to a size: what goes first, and what never goes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.directory_store import DirectoryStore
from worker.protocol import image_name
from worker.retention import UNTOUCHABLE_SECONDS, Found, trim
from worker.settings import SettingsError, WorkerSettings

REVISION = "0123456789ab"
NOW = 2_000_000_000.0
Fill = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "images")


def put(store: DirectoryStore, seed: int, used_seconds_ago: float, size: int = 100, steps: int = 20) -> Path:
    name = image_name(REVISION, seed, steps)
    store.put(name, bytes(size))
    os.utime(store.path(name), times=(NOW, NOW - used_seconds_ago))
    return store.path(name)


def trimmed(store: DirectoryStore, limit: int, running: set[tuple[str, str]] | None = None) -> Found:
    return trim(store.root, limit, lambda: running or set(), now=lambda: NOW)


def test_those_used_least_recently_go_until_there_is_room(store: DirectoryStore) -> None:
    images = [put(store, seed, 10_000 - seed) for seed in range(20)]
    assert trimmed(store, 1000) == Found(images=9, size=900, removed=11)
    assert [image.exists() for image in images] == [False] * 11 + [True] * 9


def test_nothing_goes_as_long_as_there_is_room_or_no_limit(store: DirectoryStore) -> None:
    for seed in range(10):
        put(store, seed, 10_000)
    assert trimmed(store, 1000) == trimmed(store, 0) == Found(images=10, size=1000)


def test_what_was_used_just_now_stays_however_small_the_limit(store: DirectoryStore) -> None:
    old = put(store, 1, UNTOUCHABLE_SECONDS + 1)
    new = put(store, 2, UNTOUCHABLE_SECONDS - 1)
    assert trimmed(store, 1) == Found(images=1, size=100, removed=1)
    assert (old.exists(), new.exists()) == (False, True)


def test_what_running_jobs_have_stored_stays(store: DirectoryStore) -> None:
    mine, other_steps = put(store, 7, 10_000), put(store, 7, 10_000, steps=21)
    assert trimmed(store, 1, {("7", "20")}).removed == 1
    assert (mine.exists(), other_steps.exists()) == (True, False)


def test_a_job_that_begins_while_the_store_is_looked_through_counts(store: DirectoryStore) -> None:
    """Jobs are asked for after the images were listed: one that had ended by then has been reported."""
    image = put(store, 7, 10_000)

    def running() -> set[tuple[str, str]]:
        put(store, 8, 10_000)
        return {("7", "20")}

    assert trim(store.root, 1, running, now=lambda: NOW).removed == 0
    assert image.exists()


def test_an_image_that_is_used_meanwhile_stays(store: DirectoryStore) -> None:
    image = put(store, 7, 10_000)

    def running() -> set[tuple[str, str]]:
        os.utime(image, times=(NOW, NOW))
        return set()

    assert trim(store.root, 1, running, now=lambda: NOW).removed == 0


def test_an_image_that_is_gone_meanwhile_is_no_error(store: DirectoryStore) -> None:
    images = [put(store, seed, 10_000) for seed in (1, 2)]

    def running() -> set[tuple[str, str]]:
        images[0].unlink()
        return set()

    assert trim(store.root, 1, running, now=lambda: NOW).removed == 1
    assert not images[1].exists()


def test_what_is_being_written_is_left_alone(store: DirectoryStore) -> None:
    put(store, 1, 10_000)
    partial = store.root / ".incoming" / "half"
    partial.write_bytes(bytes(1000))
    os.utime(partial, times=(0, 0))
    assert trimmed(store, 1).images == 0
    assert partial.exists()


def test_a_store_that_is_not_there_yet_is_empty(store: DirectoryStore) -> None:
    assert trimmed(store, 1) == Found(images=0, size=0)


def test_reading_an_image_is_using_it(store: DirectoryStore) -> None:
    image = put(store, 7, 0)
    os.utime(image, times=(0, 0))
    assert store.exists(image.name)
    assert image.stat().st_mtime == 0
    assert store.get(image.name) == bytes(100)
    noted = image.stat().st_mtime_ns
    assert noted > 0
    store.get(image.name)
    assert image.stat().st_mtime_ns == noted  # once a minute is enough


@pytest.mark.parametrize(("text", "size"), [("2GB", 2 * 10**9), ("500MiB", 500 * 2**20), ("12345", 12345), ("0", 0)])
def test_the_limit_is_written_as_people_write_sizes(text: str, size: int) -> None:
    variables = {"BOUQUET_REDIS_URL": "redis://queue", "BOUQUET_IMAGES_MAX_BYTES": text}
    assert WorkerSettings.from_environ(variables).images_max_bytes == size


@pytest.mark.parametrize("text", ["-1", "much", "2 gardens"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="BOUQUET_IMAGES_MAX_BYTES"):
        WorkerSettings.from_environ({"BOUQUET_REDIS_URL": "redis://queue", "BOUQUET_IMAGES_MAX_BYTES": text})
