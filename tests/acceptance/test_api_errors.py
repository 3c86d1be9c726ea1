"""Errors: each one a problem with a code, whatever was sent."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.acceptance.problems import problem_of

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"steps": 0}, ["steps"]),
        ({"steps": 1001, "count": 0}, ["steps", "count"]),
        ({"steps": True}, ["steps"]),
        ({"seed": "7"}, ["seed"]),
        ({"seed": -1}, ["seed"]),
        ({"seed": 2**53}, ["seed"]),
        ({"seed": 2**53 - 1, "count": 2}, ["count"]),
        ({"colour": "red"}, ["colour"]),
        ([], ["body"]),
        ("seed", ["body"]),
    ],
)
def test_a_field_that_is_wrong_is_named(idle: httpx.Client, body: Any, fields: list[str]) -> None:
    problem = problem_of(idle.post("/generate", json=body), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == fields
    assert all(error["message"] for error in problem["errors"])
    assert fields[0] in problem["detail"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"seed": 1, "seed": 2}', b'{"seed": NaN}', b"\xff", b"[" * 5000])
def test_what_is_not_json(idle: httpx.Client, body: bytes) -> None:
    problem_of(idle.post("/generate", content=body, headers=JSON), 400, "invalid-json")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_does_not_say_that_it_is_json(idle: httpx.Client, kind: str) -> None:
    response = idle.post("/generate", content=b'{"seed": 1}', headers={"Content-Type": kind})
    problem_of(response, 415, "unsupported-media-type")


def test_a_compressed_body_is_refused(idle: httpx.Client) -> None:
    response = idle.post("/generate", content=b"\x1f\x8b", headers=JSON | {"Content-Encoding": "gzip"})
    problem_of(response, 415, "unsupported-media-type")


def test_a_body_has_its_limit(idle: httpx.Client) -> None:
    padding = b" " * (64 * 1024 - 2)
    assert idle.post("/generate", content=padding + b"{}", headers=JSON).status_code == 202
    problem_of(idle.post("/generate", content=padding + b" {}", headers=JSON), 413, "body-too-large")

    def pieces() -> Any:
        for _ in range(70):
            yield b" " * 1024

    problem_of(idle.post("/generate", content=pieces(), headers=JSON), 413, "body-too-large")


def test_a_body_that_does_not_come_is_not_waited_for(idle_service: str) -> None:
    address = urlsplit(idle_service)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        head = "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
        connection.sendall(head.encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nothing", "not-found"),
        ("/jobs/unknown", "job-not-found"),
        ("/jobs/01a206a6c5d9eaa976cab8dd7190c68d-20", "job-not-found"),
        ("/jobs/%00", "job-not-found"),
        ("/images/nothing.png", "image-not-found"),
        ("/images/0123456789ab-7-20.png", "image-not-found"),
        ("/images/0123456789ab-007-20.png", "image-not-found"),
        ("/images/..%2f..%2fetc%2fpasswd", "not-found"),
        ("/images/%2e%2e", "image-not-found"),
        ("/static/nothing.js", "not-found"),
        ("/static/..%2fsettings.py", "not-found"),
        ("/generate/", "not-found"),
    ],
)
def test_what_is_not_there(idle_service: str, path: str, code: str) -> None:
    # Through a socket of our own: clients tidy such addresses up.
    address = urlsplit(idle_service)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    response = httpx.Response(
        404, headers=[tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")[1:]], content=body
    )
    assert head.startswith(b"HTTP/1.1 404")
    problem_of(response, 404, code)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/flowers/007.png", "seed"),
        ("/flowers/-1.png", "seed"),
        ("/flowers/7.5.png", "seed"),
        ("/flowers/9007199254740992.png", "seed"),
        ("/flowers/7.png?steps=0", "steps"),
        ("/flowers/7.png?steps=2_0", "steps"),
        ("/flowers/7.png?step=5", "step"),
        ("/jobs?limit=101", "limit"),
        ("/jobs?status=done", "status"),
        ("/jobs?cursor=x", "cursor"),
        ("/jobs?page=2", "page"),
    ],
)
def test_an_address_that_is_wrong_names_its_field(idle: httpx.Client, path: str, field: str) -> None:
    problem = problem_of(idle.get(path), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/generate", "OPTIONS, POST"),
        ("PUT", "/jobs/x", "DELETE, GET, HEAD, OPTIONS"),
        ("POST", "/jobs", "GET, HEAD, OPTIONS"),
        ("DELETE", "/", "GET, HEAD, OPTIONS"),
        ("POST", "/static/style.css", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_is_wrong(idle: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = idle.request(method, path)
    problem_of(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed
    options = idle.options(path)
    assert options.status_code == 204
    assert options.headers["allow"] == allowed


def test_a_bad_key_is_refused(idle: httpx.Client) -> None:
    for key in ("", "x" * 256):
        problem = problem_of(idle.post("/generate", json={}, headers={"Idempotency-Key": key}), 422, "invalid-request")
        assert problem["errors"][0]["field"] == "Idempotency-Key"


def test_request_ids_come_back(idle: httpx.Client) -> None:
    assert idle.get("/health/live", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    drawn = {idle.get("/health/live").headers["x-request-id"] for _ in range(3)}
    assert len(drawn) == 3
    assert idle.get("/health/live", headers={"X-Request-ID": "<script>"}).headers["x-request-id"] != "<script>"


def test_head_answers_like_get(idle: httpx.Client) -> None:
    for path in (
        "/",
        "/docs",
        "/openapi.json",
        "/jobs",
        "/health/live",
        "/health/ready",
        "/jobs/x",
        "/static/style.css",
    ):
        head, get = idle.head(path), idle.get(path)
        assert head.status_code == get.status_code
        assert head.content == b""
        assert head.headers["content-length"] == str(len(get.content)) or "request_id" in get.text
        assert head.headers["content-type"] == get.headers["content-type"]


def test_other_pages_may_come_in_by_setting(idle: httpx.Client) -> None:
    asked = {"Origin": "https://garden.example", "Access-Control-Request-Method": "POST"}
    assert idle.options("/generate", headers=asked).headers["access-control-allow-origin"] == "https://garden.example"
    stranger = idle.get("/health/live", headers={"Origin": "https://weeds.example"})
    assert "access-control-allow-origin" not in stranger.headers


def test_what_a_browser_may_do_is_said_everywhere(idle: httpx.Client) -> None:
    for path in ("/", "/docs", "/nothing", "/static/page/main.js"):
        headers = idle.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
