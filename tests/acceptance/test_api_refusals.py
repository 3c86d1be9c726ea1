"""What nobody should send: refused, in time, in words, and without harm to anybody else."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Iterator

import httpx
import pytest

from app.bodies import BODY_SECONDS, MAX_BODY_BYTES
from app.head_limit import MAX_HEAD_BYTES
from app.http_protocol import HEAD_SECONDS
from tests import wire
from tests.acceptance.problems import problem_of
from tests.serving import Serve

KEY = "a-key-of-the-tests-1"
POST = "POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GRACE = 20.0  # for a busy machine; what is held here is that an end comes at all


@pytest.fixture(scope="module")
def locked_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {"BOUQUET_API_KEYS": KEY}
    with Serve(tmp_path_factory.mktemp("refusals"), "--workers", "0", env=settings) as serve:
        yield serve.wait_until_live()


@pytest.fixture(autouse=True)
def nobody_else_is_harmed(idle: httpx.Client) -> Iterator[None]:
    yield
    assert idle.get("/health/live").status_code == 200


# --- what is no HTTP ---


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # TLS where there is none
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",  # no method of any standard
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX Header: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\n{}",
        POST.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        POST.encode() + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http(idle_service: str, request_bytes: bytes) -> None:
    problem_of(wire.ask(idle_service, request_bytes), 400, "bad-request")


def test_an_encoding_of_the_transfer_that_is_not_known(idle_service: str) -> None:
    with wire.connect(idle_service) as connection:
        connection.sendall(POST.encode() + b"Transfer-Encoding: gzip\r\n\r\n")
        assert wire.read_answer(connection).status_code in (400, 501)


def test_a_body_of_two_lengths_is_read_one_way_only(idle_service: str) -> None:
    """A proxy that goes by the one and a server that goes by the other would see different requests in one stream."""
    smuggled = b"0\r\n\r\nDELETE /jobs/x HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"{POST}Content-Length: {len(smuggled)}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    with wire.connect(idle_service) as connection:
        connection.sendall(head.encode() + smuggled)
        answers = wire.read_to_end(connection)
    assert answers.count(b"HTTP/1.1 ") == 1


def test_a_fault_behind_a_whole_request_does_not_take_its_answer(idle_service: str) -> None:
    request = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with wire.connect(idle_service) as connection:
        connection.sendall(request + b"\x00\x01" + request)
        answers = wire.read_to_end(connection)
    assert answers.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answers.count(b"HTTP/1.1 ") == 1


def test_what_comes_after_a_body_is_no_header(idle_service: str) -> None:
    with wire.connect(idle_service) as connection:
        head = f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode()
        connection.sendall(head + b"2\r\n{}\r\n0\r\nX-Request-ID: of-the-trailer\r\n\r\n")
        answer = wire.read_response(connection)
    assert answer.status_code == 202
    assert answer.headers["x-request-id"] != "of-the-trailer"


# --- too much ---


def test_a_flood_of_headers(idle_service: str) -> None:
    with wire.connect(idle_service) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        try:
            for number in range(100_000):
                connection.sendall(b"X-Flood-%d: %s\r\n" % (number, b"a" * 100))
        except OSError:
            pass  # the server has had enough
        else:
            pytest.fail("ten megabytes of headers were taken")
        answer = wire.read_to_end(connection)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("extra", [[f"X-{number}: a" for number in range(3000)], ["X-Long: " + "a" * MAX_HEAD_BYTES]])
def test_a_head_that_is_too_large(idle_service: str, extra: list[str]) -> None:
    problem_of(wire.get(idle_service, "/health/live", *extra), 431, "head-too-large")


def test_an_address_that_is_too_long(idle_service: str) -> None:
    problem_of(wire.get(idle_service, "/jobs?cursor=" + "a" * MAX_HEAD_BYTES), 431, "head-too-large")


def test_a_large_head_is_taken(idle_service: str) -> None:
    assert wire.get(idle_service, "/health/live", "X-Long: " + "a" * (MAX_HEAD_BYTES - 200)).status_code == 200


def test_a_body_that_says_it_is_too_large_is_not_read(idle_service: str) -> None:
    answer = wire.ask(idle_service, f"{POST}Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
    problem_of(answer, 413, "body-too-large")


def test_a_body_in_chunks_that_is_too_large_is_not_read_to_its_end(idle_service: str) -> None:
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    with wire.connect(idle_service) as connection:
        connection.sendall(f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode())
        connection.sendall(chunk * 9)
        problem_of(wire.read_answer(connection), 413, "body-too-large")


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b" " * 10_000_000, mtime=0)),
        ("deflate", zlib.compress(b" " * 10_000_000)),
        ("br", b"\x0b\x02\x80{}\x03"),
        ("zstd", b"\x28\xb5\x2f\xfd"),
        ("identity, gzip", gzip.compress(b"{}", mtime=0)),
        ("GZIP", gzip.compress(b"{}", mtime=0)),
    ],
)
def test_what_would_have_to_be_unpacked(idle: httpx.Client, encoding: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    problem_of(idle.post("/generate", content=body, headers=headers), 415, "unsupported-media-type")


# --- too slow ---


def test_slow_heads_slow_bodies_and_silence_come_to_an_end(idle_service: str, locked_service: str) -> None:
    """Four clients at a time, each slow in another way, each sending a byte now and then."""
    began = time.monotonic()
    silent, head, body, rest = (
        wire.connect(service) for service in (idle_service, idle_service, idle_service, locked_service)
    )
    with silent, head, body, rest:
        head.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        body.sendall(f"{POST}Content-Length: 1000\r\n\r\n".encode())
        rest.sendall(f"{POST}Content-Length: 1000\r\n\r\n".encode())  # refused for want of a key before its body came
        problem_of(wire.read_response(rest), 401, "unauthorized")
        open_ones = {"head": head, "body": body, "rest": rest}
        while open_ones and time.monotonic() < began + HEAD_SECONDS + BODY_SECONDS + GRACE:
            for name, connection in list(open_ones.items()):
                try:
                    connection.sendall(b" ")
                except OSError:
                    del open_ones[name]
            time.sleep(0.2)  # the pace of those that are slow, not a wait for anything
        assert not open_ones
        problem_of(wire.read_answer(head), 408, "request-timeout")
        problem_of(wire.read_answer(body), 408, "request-timeout")
        assert wire.read_to_end(silent) == b""


def test_who_does_not_hurry_between_requests_is_served(idle_service: str) -> None:
    with wire.connect(idle_service) as connection:
        for _ in range(3):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
            time.sleep(0.1)
            connection.sendall(b"\r\n")
            assert wire.read_response(connection).status_code == 200


# --- keys ---


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/jobs"),
        ("OPTIONS", "/jobs"),
        ("DELETE", "/jobs/01a206a6c5d9eaa976cab8dd7190c68d-20"),
        ("GET", "/jobs/01a206a6c5d9eaa976cab8dd7190c68d-20/events"),
        ("POST", "/generate"),
        ("GET", "/flowers/7.png"),
        ("GET", "/openapi.json"),
        ("TRACE", "/"),
        ("GET", "//health/live"),
        ("GET", "/health/../jobs"),
        ("GET", "/health/%2e%2e/jobs"),
        ("GET", "/HEALTH/live"),
        ("GET", "http://x/jobs"),
        ("GET", f"/jobs?key={KEY}"),
        ("GET", f"/jobs?access_token={KEY}"),
        ("GET", f"/{KEY}/jobs"),
        ("GET", f"http://any:{KEY}@x/jobs"),
    ],
)
@pytest.mark.parametrize("header", ["", "Authorization: Bearer a-key-of-the-tests-2\r\n", f"X-API-Key: {KEY}\r\n"])
def test_without_a_key_there_is_nothing(locked_service: str, method: str, target: str, header: str) -> None:
    request = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n"
    answer = wire.ask(locked_service, request.encode())
    if target.startswith("/health/"):  # below health there is nothing that is not open
        assert answer.status_code in (401, 404)
    else:
        assert answer.status_code == 401
    if method != "HEAD":
        assert answer.json()["code"] in ("unauthorized", "not-found")


def test_two_keys_in_one_request_are_none(locked_service: str) -> None:
    lines = ("Authorization: Bearer wrong", f"Authorization: Bearer {KEY}")
    problem_of(wire.get(locked_service, "/jobs", *lines), 401, "unauthorized")


# --- ways out of the house ---


@pytest.mark.parametrize("prefix", ["/images/", "/static/", "/static/page/", "/flowers/", "/jobs/"])
@pytest.mark.parametrize(
    "path",
    [
        "../../pyproject.toml",
        "..%2f..%2fpyproject.toml",
        "%2e%2e/%2e%2e/pyproject.toml",
        "%252e%252e%252fpyproject.toml",
        "..\\..\\pyproject.toml",
        "..%5c..%5cpyproject.toml",
        "....//....//pyproject.toml",
        "%c0%ae%c0%ae/pyproject.toml",
        "%2fetc%2fpasswd",
        "/etc/passwd",
        "page.js%00.png",
        ".",
        "..",
        "",
    ],
)
def test_no_path_leads_out(idle_service: str, prefix: str, path: str) -> None:
    answer = wire.get(idle_service, prefix + path)
    assert answer.status_code in (404, 422)
    problem_of(answer, answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    "target",
    [
        "/jobs/x%0d%0aSet-Cookie:%20a=b",
        "/images/x%0d%0aSet-Cookie:%20a=b.png",
        "/nothing?x=%0d%0aSet-Cookie:%20a=b",
        "/flowers/7.png?steps=1%0d%0aSet-Cookie:%20a=b",
        "/jobs?cursor=%0d%0aSet-Cookie:%20a=b",
    ],
)
def test_no_header_comes_out_of_an_address(idle_service: str, target: str) -> None:
    answer = wire.get(idle_service, target)
    assert "set-cookie" not in answer.headers
    assert answer.status_code in (404, 422)


@pytest.mark.parametrize("value", ["a\r\n Set-Cookie: a=b", "a Set-Cookie: a=b", "é", "a" * 200, "<b>"])
def test_no_header_comes_out_of_a_request_id(idle_service: str, value: str) -> None:
    answer = wire.get(idle_service, "/health/live", f"X-Request-ID: {value}")
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-request-id"].isalnum()


# --- other methods ---

ADDRESSES = {
    "/": "GET, HEAD, OPTIONS",
    "/docs": "GET, HEAD, OPTIONS",
    "/openapi.json": "GET, HEAD, OPTIONS",
    "/favicon.ico": "GET, HEAD, OPTIONS",
    "/static/style.css": "GET, HEAD, OPTIONS",
    "/generate": "OPTIONS, POST",
    "/jobs": "GET, HEAD, OPTIONS",
    "/jobs/x": "DELETE, GET, HEAD, OPTIONS",
    "/jobs/x/events": "GET, HEAD, OPTIONS",
    "/images/x.png": "GET, HEAD, OPTIONS",
    "/flowers/7.png": "GET, HEAD, OPTIONS",
    "/morphs/7-8.webp": "GET, HEAD, OPTIONS",
    "/model": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
    "/health/live": "GET, HEAD, OPTIONS",
    "/health/ready": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_address_says_what_it_takes(idle: httpx.Client, address: str) -> None:
    allowed = ADDRESSES[address]
    options = idle.options(address)
    assert (options.status_code, options.content) == (204, b"")
    assert options.headers["allow"] == allowed
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - set(allowed.split(", ")):
        refused = idle.request(method, address)
        problem_of(refused, 405, "method-not-allowed")
        assert refused.headers["allow"] == allowed
    if "HEAD" in allowed:
        head, get = idle.head(address), idle.get(address)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]


def test_the_schema_knows_no_other_address(idle: httpx.Client) -> None:
    templates = {
        "/jobs/x": "/jobs/{job_id}",
        "/images/x.png": "/images/{name}",
        "/flowers/7": "/flowers/{seed}",
        "/morphs/7-8": "/morphs/{seed}-{toward}",
    }
    known = set(ADDRESSES)
    for example, template in templates.items():
        known = {address.replace(example, template) for address in known}
    assert idle.get("/openapi.json").json()["paths"].keys() <= known


# --- pages of other sites ---


def test_a_page_of_another_site_is_asked_for_nothing_by_default(locked_service: str) -> None:
    origin = "Origin: https://garden.example"
    answer = wire.get(locked_service, "/jobs", origin, f"Authorization: Bearer {KEY}")
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_what_a_page_of_another_site_may_by_setting(idle: httpx.Client) -> None:
    garden = {"Origin": "https://garden.example"}
    headers = "authorization, content-type, idempotency-key, prefer"
    for path, method in (("/generate", "POST"), ("/jobs/x", "DELETE"), ("/jobs/x/events", "GET")):
        asked = garden | {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
        answer = idle.options(path, headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://garden.example"
        assert method in answer.headers["access-control-allow-methods"]
    for origin in ("https://weeds.example", "https://garden.example.weeds.example", "http://garden.example", "null"):
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert "access-control-allow-origin" not in idle.options("/generate", headers=asked).headers
    # Errors too, or a page could not tell why it was refused; and the answer is not kept for other pages.
    refused = idle.get("/jobs/x", headers=garden)
    problem_of(refused, 404, "job-not-found")
    assert refused.headers["access-control-allow-origin"] == "https://garden.example"
    assert "Origin" in refused.headers["vary"]
    assert "access-control-allow-credentials" not in refused.headers
    assert "x-request-id" in refused.headers["access-control-expose-headers"].lower()
