"""A service with keys: what needs one, and what counts as one."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.acceptance.problems import problem_of
from tests.serving import Serve
from worker.directory_store import DirectoryStore
from worker.png import encode_png

KEY, OTHER = "a-key-of-the-tests-1", "a-key-of-the-tests-2"
IMAGE = "/images/0123456789ab-7-20.png"


def home_with_an_image(home: Path) -> Path:
    DirectoryStore(home / "images").put(IMAGE.rpartition("/")[2], encode_png(np.zeros((16, 16, 3), np.uint8), {}))
    return home


@pytest.fixture(scope="module")
def locked_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {"BOUQUET_API_KEYS": f"{KEY},{OTHER}"}
    with Serve(home_with_an_image(tmp_path_factory.mktemp("locked")), "--workers", "0", env=settings) as serve:
        yield serve.wait_until_live()


@pytest.fixture
def locked(locked_service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked_service, timeout=60.0) as client:
        yield client


def basic(key: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{key}".encode()).decode()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/openapi.json",
        "/jobs",
        "/jobs/x",
        "/jobs/x/events",
        "/metrics",
        "/model",
        "/nothing",
        "/static/style.css",
    ],
)
def test_everything_needs_a_key(locked: httpx.Client, path: str) -> None:
    refused = locked.get(path)
    problem_of(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert locked.get(path, headers={"Authorization": f"Bearer {KEY}"}).status_code != 401
    assert locked.get(path, headers={"Authorization": f"bearer {OTHER}"}).status_code != 401


def test_images_need_a_key_unless_they_are_public(locked: httpx.Client) -> None:
    problem_of(locked.get(IMAGE), 401, "unauthorized")
    problem_of(locked.get("/flowers/7.png"), 401, "unauthorized")


def test_no_cache_on_the_way_keeps_what_needs_a_key(locked: httpx.Client) -> None:
    kept = locked.get(IMAGE, headers={"Authorization": f"Bearer {KEY}"}).raise_for_status()
    assert kept.headers["cache-control"] == "private, max-age=31536000, immutable"
    headers = {"Authorization": f"Bearer {KEY}", "If-None-Match": kept.headers["etag"]}
    assert (again := locked.get(IMAGE, headers=headers)).status_code == 304
    assert again.headers["cache-control"] == kept.headers["cache-control"]


def test_health_needs_none(locked: httpx.Client) -> None:
    assert locked.get("/health/live").status_code == 200
    problem_of(locked.get("/health/ready"), 503, "not-ready")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        f"Bearer {KEY},{OTHER}",
        KEY,
        f"Token {KEY}",
        "Basic " + base64.b64encode(KEY.encode()).decode(),
        "Basic !!!",
        basic("wrong"),
        "Bearer \xe9",
    ],
)
def test_what_is_not_a_key(locked: httpx.Client, authorization: str) -> None:
    headers = {"Authorization": authorization.encode("latin-1")}
    problem_of(locked.post("/generate", json={}, headers=headers), 401, "unauthorized")


def test_a_key_in_the_address_is_none(locked: httpx.Client) -> None:
    for name in ("key", "api_key", "access_token", "Authorization"):
        problem_of(locked.get("/jobs", params={name: KEY}), 401, "unauthorized")


def test_a_browser_may_ask_for_the_key(locked: httpx.Client) -> None:
    refused = locked.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    problem_of(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"].startswith("Basic")
    assert locked.get("/", headers={"Authorization": basic(KEY)}).status_code == 200


def test_public_images_are_open_and_nothing_else(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {"BOUQUET_API_KEYS": KEY, "BOUQUET_PUBLIC_IMAGES": "true"}
    with (
        Serve(home_with_an_image(tmp_path_factory.mktemp("public")), "--workers", "0", env=settings) as serve,
        httpx.Client(base_url=serve.wait_until_live(), timeout=60.0) as client,
    ):
        assert client.get(IMAGE).headers["cache-control"] == "public, max-age=31536000, immutable"
        problem_of(client.get("/images/0123456789ab-8-20.png"), 404, "image-not-found")
        problem_of(client.get("/flowers/7.png"), 503, "not-ready")
        problem_of(client.get("/jobs"), 401, "unauthorized")
        problem_of(client.get("/images/../jobs"), 401, "unauthorized")
