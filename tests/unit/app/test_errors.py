"""Errors without a service: what nobody foresaw, and a queue or a store that is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.testclient import TestClient

from app import errors
from app.errors import ErrorBoundary, ProblemCode
from app.main import create_app
from app.request_ids import RequestIds
from app.settings import Settings


def test_codes_are_stable_words_and_know_their_status() -> None:
    for code in ProblemCode:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code.code)
        assert 400 <= code.status < 600
    assert len({code.code for code in ProblemCode}) == len(ProblemCode)


def test_an_error_that_nobody_foresaw_is_told_without_its_inside() -> None:
    app = FastAPI(middleware=[Middleware(RequestIds), Middleware(ErrorBoundary)])
    errors.install(app)

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret")

    with TestClient(app) as client:
        response = client.get("/broken", headers={"X-Request-ID": "mine"})
    assert response.status_code == 500
    assert response.headers["content-type"] == errors.MEDIA_TYPE
    assert response.headers["x-request-id"] == "mine"
    assert response.json()["code"] == "internal-error"
    assert response.json()["request_id"] == "mine"
    assert "secret" not in response.text


@pytest.fixture
def cut_off(tmp_path: Path) -> Settings:
    return Settings(redis_url=f"unix://{tmp_path}/nobody.sock", home=tmp_path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/generate"),
        ("GET", "/jobs"),
        ("GET", f"/jobs/{'0' * 32}-20"),
        ("GET", "/flowers/7.png"),
        ("GET", "/model"),
    ],
)
def test_without_redis(cut_off: Settings, method: str, path: str) -> None:
    with TestClient(create_app(cut_off)) as client:
        response = client.request(method, path, json={} if method == "POST" else None)
    assert response.status_code == 503
    assert response.headers["content-type"] == errors.MEDIA_TYPE
    assert response.json()["code"] == "queue-unavailable"
    assert int(response.headers["retry-after"]) > 0


def test_without_redis_the_front_end_lives_and_is_not_ready(cut_off: Settings) -> None:
    with TestClient(create_app(cut_off)) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/").status_code == 200
        ready = client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["missing"] == "redis"


def test_without_a_readable_store(cut_off: Settings, tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file where a folder should be")
    with TestClient(create_app(cut_off)) as client:
        response = client.get("/images/0123456789ab-7-20.png")
    assert response.status_code == 503
    assert response.json()["code"] == "store-unavailable"
    assert str(tmp_path) not in response.text


def test_the_reference_knows_every_code_and_resolves(tmp_path: Path) -> None:
    document = create_app(Settings(home=tmp_path)).openapi()
    listed = document["components"]["schemas"]["Problem"]["properties"]["code"]["x-codes"]
    assert listed.keys() == {code.code for code in ProblemCode}
    for reference in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == [errors.MEDIA_TYPE], (path, status)
