"""Every parser of the front end, given whatever fits through HTTP: each answer is one that is documented."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from app.job_ids import is_job_id, new_job_id
from app.main import create_app
from app.negotiation import none_match, preferred_wait, wants_picture
from app.settings import Settings
from worker.protocol import ProtocolError, parse_image_name

KEY = "a-key-of-the-tests-1"
NAME = "0123456789ab-7-20.png"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))
ETAG = f'"{hashlib.sha256(PNG).hexdigest()}"'

VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)
"""What a header may hold: Latin-1 without controls."""
HEADERS = (
    "Accept", "Accept-Encoding", "Authorization", "Cache-Control", "Content-Encoding", "Content-Type", "Cookie",
    "Expect", "Idempotency-Key", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "Last-Event-ID",
    "Origin", "Prefer", "Range", "Transfer-Encoding", "Upgrade", "X-Forwarded-For", "X-HTTP-Method-Override",
    "X-Request-ID",
)  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A front end without a queue, with one image, that other sites may use."""
    home = tmp_path_factory.mktemp("home")
    image = home / "images" / "0123456789ab" / "07" / NAME
    image.parent.mkdir(parents=True)
    image.write_bytes(PNG)
    chosen = Settings(home=home, redis_url=f"unix://{home}/nobody.sock", cors_origins=("https://garden.example",))
    with TestClient(create_app(chosen)) as client:
        yield client


def problem_of(response: Any, *expected: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert problem["code"] in expected, problem
    assert problem["status"] == response.status_code
    return problem


@given(st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=6))
@example({"Range": "bytes=0-3"})
@example({"Range": "bytes=9999-"})
@example({"If-Range": ETAG, "Range": "bytes=0-3"})
def test_no_header_changes_a_picture(client: TestClient, headers: dict[str, str]) -> None:
    response = client.get(f"/images/{NAME}", headers={name: value.encode("latin-1") for name, value in headers.items()})
    if response.status_code == 304:
        assert "If-None-Match" in headers
    else:
        assert (response.status_code, response.content) == (200, PNG)
    assert response.headers["etag"] == ETAG
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"


TAGS = st.text(st.characters(codec="ascii", min_codepoint=0x21, exclude_characters='"\x7f'), max_size=12).map(
    '"{}"'.format
)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([ETAG]) | TAGS), max_size=5), st.sampled_from([",", ", ", " ,\t"])
)
def test_a_picture_is_not_sent_to_who_has_it(client: TestClient, tags: list[tuple[bool, str]], comma: str) -> None:
    condition = comma.join(("W/" if weak else "") + tag for weak, tag in tags)
    response = client.get(f"/images/{NAME}", headers={"If-None-Match": condition})
    assert (response.status_code == 304) is any(tag == ETAG for _, tag in tags)
    assert none_match(condition, ETAG) is (response.status_code == 304)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["image/png", "image/*", "application/json", "application/*", "*/*", "text/html", "image/webp"]
            ),
            st.integers(0, 10),
        ),
        max_size=6,
        unique_by=lambda pair: pair[0],
    )
)
def test_the_best_of_what_is_accepted(ranges: list[tuple[str, int]]) -> None:
    quality = dict(ranges)

    def of(kind: str, subtype: str) -> int:
        return quality.get(f"{kind}/{subtype}", quality.get(f"{kind}/*", quality.get("*/*", 0)))

    accept = ", ".join(f"{name};q={tenths / 10}" for name, tenths in ranges)
    assert wants_picture(accept) is (of("image", "png") > of("application", "json"))


@given(
    st.lists(st.sampled_from(["respond-async", "handling=lenient", "wait", "wait=x", ""])), st.integers(0, 10**9 - 1)
)
def test_a_wait_among_other_preferences(others: list[str], seconds: int) -> None:
    assert preferred_wait(", ".join([*others, f"wait={seconds}", "wait=5"])) == seconds
    assert preferred_wait(", ".join(others)) is None


@given(st.binary(max_size=120), st.dictionaries(st.sampled_from(HEADERS), VALUES, max_size=4))
@example(b"{}", {"Idempotency-Key": ""})
@example(b"{}", {"Idempotency-Key": "x" * 300})
@example(b"{}", {"Prefer": "wait=999999999999999999999999"})
def test_whatever_body_is_posted(client: TestClient, body: bytes, headers: dict[str, str]) -> None:
    sent = {"Content-Type": "application/json"} | headers
    response = client.post(
        "/generate", content=body, headers={name: value.encode("latin-1") for name, value in sent.items()}
    )
    expected = ("invalid-json", "invalid-request", "unsupported-media-type", "not-acceptable", "queue-unavailable")
    code = problem_of(response, *expected)["code"]
    if code == "queue-unavailable":  # it was understood, and there is no queue here
        assert isinstance(json.loads(body), dict)


FIELDS = st.dictionaries(
    st.sampled_from(["steps", "seed", "count", "sampler", "toward", "after", "kind", "colour"]),
    st.none() | st.booleans() | st.integers(-10, 10**17) | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["ddim", "multistep", "7"]) | st.lists(st.integers(), max_size=2),
)  # fmt: skip


@given(FIELDS)
def test_every_field_that_is_wrong_is_named(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post("/generate", json=body)
    problem = problem_of(response, "invalid-request", "queue-unavailable")
    if problem["code"] == "invalid-request":
        named = {error["field"] for error in problem["errors"]}
        assert named <= {*body, "count"}
        assert {"colour", "toward", "after"} & body.keys() <= named
    else:
        assert body.keys() <= {"steps", "seed", "count", "sampler", "kind"}


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/?#%\\"), min_size=1, max_size=60)
)
@example("0123456789ab-7-20-after5.png")
@example("0123456789ab-7to8at1of2-20.webp")
@example("0123456789ab-7to8at2of4-20.webp")
def test_whatever_name_is_asked_for(client: TestClient, name: str) -> None:
    if name in (".", ".."):
        return  # which clients resolve
    try:
        address = parse_image_name(name)
    except ProtocolError:
        problem_of(client.get(f"/images/{name}"), "image-not-found")
    else:
        assert address.name == name
        problem_of(client.get(f"/images/{name}"), "queue-unavailable", "image-not-found")


@given(st.text(max_size=70) | st.integers(1, 10**5).map(new_job_id))
def test_whatever_cursor_is_given(client: TestClient, cursor: str) -> None:
    try:
        cursor.encode()
    except UnicodeEncodeError:
        return
    problem = problem_of(client.get("/jobs", params={"cursor": cursor}), "invalid-request", "queue-unavailable")
    assert (problem["code"] == "queue-unavailable") is is_job_id(cursor)
    if not is_job_id(cursor):
        assert [error["field"] for error in problem["errors"]] == ["cursor"]


@given(VALUES)
def test_whatever_request_is_called(client: TestClient, name: str) -> None:
    response = client.get("/health/live", headers={"X-Request-ID": name.encode("latin-1")})
    given_back = response.headers["x-request-id"]
    assert given_back == name.strip() or re.fullmatch(r"[0-9a-f]{32}", given_back)
    assert re.fullmatch(r"[A-Za-z0-9._:/+=-]{1,128}", given_back)


@given(VALUES)
def test_whatever_was_seen_last(client: TestClient, event_id: str) -> None:
    headers = {"Last-Event-ID": event_id.encode("latin-1")}
    problem_of(client.get("/jobs/nobody/events", headers=headers), "job-not-found")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    home = tmp_path_factory.mktemp("locked")
    with TestClient(create_app(Settings(home=home, api_keys=KEY))) as client:  # type: ignore[arg-type]
        yield client


@given(st.sampled_from(["", "Bearer ", "bearer\t", "Basic ", "Digest ", "Bearer  "]), VALUES | st.just(KEY))
def test_whatever_says_that_it_is_a_key(locked: TestClient, scheme: str, credentials: str) -> None:
    headers = {"Authorization": f"{scheme}{credentials}".encode("latin-1")}
    response = locked.get("/docs", headers=headers)
    opens = scheme in ("Bearer ", "Bearer  ") and credentials.strip() == KEY
    assert response.status_code == (200 if opens else 401)
