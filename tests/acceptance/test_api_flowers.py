"""Flowers, from the wish to the picture, as a client meets them."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

import httpx
import pytest

from tests.acceptance.problems import problem_of

PNG = b"\x89PNG\r\n\x1a\n"


def make(api: httpx.Client, **wish: Any) -> dict[str, Any]:
    """Posts a wish and waits for its end."""
    response = api.post("/generate", json=wish, headers={"Prefer": "wait=30"})
    assert response.status_code == 200, response.text
    job: dict[str, Any] = response.json()
    assert job["status"] == "succeeded", job
    return job


def test_a_wish_becomes_a_job_and_the_job_a_picture(api: httpx.Client) -> None:
    response = api.post("/generate", json={"steps": 4, "seed": 7})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}"
    no_morph = {"toward": None, "after": None, "kind": None}
    assert job["request"] == {"steps": 4, "seed": 7, "count": 1, "sampler": "ddim"} | no_morph
    assert job["progress"]["steps_total"] == 4

    ended = make(api, steps=4, seed=7)
    assert ended["progress"] == {"steps_done": 4, "steps_total": 4, "images_done": 1}
    assert ended["queue"] is None
    assert ended["error"] is None
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]
    assert ended["metrics"]["queued_seconds"] >= 0
    [image] = ended["images"]
    picture = api.get(image["url"])
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(PNG)
    assert len(picture.content) == image["bytes"]
    assert hashlib.sha256(picture.content).hexdigest() == image["sha256"]
    assert struct.unpack(">II", picture.content[16:24]) == (image["width"], image["height"]) == (16, 16)


def test_a_flower_is_the_same_alone_and_in_a_batch(api: httpx.Client) -> None:
    batch = make(api, steps=6, seed=1005, count=4)
    assert [image["seed"] for image in batch["images"]] == [1005, 1006, 1007, 1008]
    # Other steps first, so that the second flower alone cannot come out of the store of the first.
    alone = make(api, steps=6, seed=1007, count=1)
    assert alone["images"][0] == batch["images"][2]
    assert len({image["sha256"] for image in batch["images"]}) == 4


def test_a_drawn_seed_is_told_and_gives_the_flower_again(api: httpx.Client) -> None:
    first = make(api, steps=3, seed=None)
    again = make(api, steps=3, seed=first["request"]["seed"])
    assert again["images"] == first["images"]
    assert make(api, steps=3)["request"]["seed"] != first["request"]["seed"]


def test_what_exists_already_is_not_computed_again(api: httpx.Client) -> None:
    made = make(api, steps=5, seed=300, count=3)
    again = api.post("/generate", json={"steps": 5, "seed": 301, "count": 2}).json()
    assert again["status"] == "succeeded"
    assert again["images"] == made["images"][1:]
    assert again["metrics"]["run_seconds"] == 0
    assert api.get(f"/jobs/{again['id']}").json() == again


def test_the_picture_itself_on_request(api: httpx.Client) -> None:
    response = api.post("/generate", json={"steps": 4, "seed": 11}, headers={"Accept": "image/png"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    assert response.content == api.get(response.headers["content-location"]).content
    refused = api.post("/generate", json={"steps": 4, "count": 2}, headers={"Accept": "image/png"})
    problem_of(refused, 406, "not-acceptable")


def test_an_image_is_immutable(api: httpx.Client) -> None:
    [image] = make(api, steps=4, seed=12)["images"]
    response = api.get(image["url"])
    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    etag = response.headers["etag"]
    assert etag == f'"{image["sha256"]}"'
    for condition in (etag, f'"other", W/{etag}', "*"):
        unchanged = api.get(image["url"], headers={"If-None-Match": condition})
        assert unchanged.status_code == 304
        assert unchanged.content == b""
        assert unchanged.headers["etag"] == etag
    assert api.get(image["url"], headers={"If-None-Match": '"other"'}).status_code == 200
    head = api.head(image["url"])
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(image["bytes"])
    assert head.headers["etag"] == etag


def test_another_sampler_makes_another_picture_of_the_same_seed(api: httpx.Client) -> None:
    plain = make(api, steps=6, seed=556, sampler="ddim")
    assert make(api, steps=6, seed=556)["images"] == plain["images"]
    other = make(api, steps=6, seed=556, count=2, sampler="multistep")
    assert other["request"]["sampler"] == "multistep"
    image, _ = other["images"]
    assert image["url"] == plain["images"][0]["url"].replace(".png", "-multistep.png")
    assert image["sha256"] != plain["images"][0]["sha256"]
    flower = api.get("/flowers/556.png", params={"steps": 6, "sampler": "multistep"})
    assert flower.headers["content-location"] == image["url"]
    assert flower.content == api.get(image["url"]).content
    assert make(api, steps=6, seed=556, sampler="multistep")["images"] == [image]
    for wrong in (api.post("/generate", json={"sampler": "heun"}), api.get("/flowers/1.png?sampler=heun")):
        assert problem_of(wrong, 422, "invalid-request")["errors"][0]["field"] == "sampler"


def test_a_kind_can_be_asked_for(api: httpx.Client) -> None:
    kinds = api.get("/model").json()["classes"]
    assert kinds == ["kind 0", "kind 1", "kind 2"]
    [drawn] = make(api, steps=5, seed=557)["images"]
    jobs = {kind: make(api, steps=5, seed=557, count=2, kind=kind) for kind in kinds}
    for kind, job in jobs.items():
        assert job["request"] == {"steps": 5, "seed": 557, "count": 2, "sampler": "ddim", "kind": kind} | {
            "toward": None, "after": None,
        }  # fmt: skip
        assert [image["kind"] for image in job["images"]] == [kind] * 2
        first = job["images"][0]
        assert first["url"] == drawn["url"].replace(".png", f"-of-{kind.replace(' ', '_')}.png")
        # The kind that the seed decides for anyway is the same file at another address.
        assert (first["sha256"] == drawn["sha256"]) == (kind == drawn["kind"])
        flower = api.get("/flowers/557.png", params={"steps": 5, "kind": kind})
        assert flower.headers["content-location"] == first["url"]
        assert flower.content == api.get(first["url"]).content
        assert make(api, steps=5, seed=557, kind=kind)["images"] == [first], "found in the store by its kind"
    morphs = {kind: api.get("/morphs/557-558.webp", params={"frames": 2, "steps": 5, "kind": kind}) for kind in kinds}
    assert {morph.status_code for morph in morphs.values()} == {200}
    assert len({morph.content for morph in morphs.values()}) == 3


@pytest.mark.parametrize("path", ["/flowers/1.png", "/morphs/1-2.webp"])
def test_a_kind_that_there_is_not_is_told_with_what_may_have_been_meant(api: httpx.Client, path: str) -> None:
    for wrong in (api.post("/generate", json={"kind": "kind 7"}), api.get(path, params={"kind": "kind 7"})):
        [error] = problem_of(wrong, 422, "invalid-request")["errors"]
        assert error["field"] == "kind"
        assert "did you mean 'kind " in error["message"]
        assert "GET /model" in error["message"]
    assert problem_of(api.post("/generate", json={"kind": "x" * 200}), 422, "invalid-request")


def test_the_same_key_for_another_kind_is_a_conflict(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "a key for one kind"}
    first = api.post("/generate", json={"seed": 1, "steps": 2, "kind": "kind 1"}, headers=headers)
    again = api.post("/generate", json={"seed": 1, "steps": 2, "kind": "kind 1"}, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    other = api.post("/generate", json={"seed": 1, "steps": 2, "kind": "kind 2"}, headers=headers)
    problem_of(other, 409, "idempotency-conflict")


def test_the_flower_of_a_seed(api: httpx.Client) -> None:
    response = api.get("/flowers/555.png", params={"steps": 4})
    assert response.status_code == 200
    assert response.content.startswith(PNG)
    assert api.get("/flowers/555.png", params={"steps": 4}).content == response.content
    assert api.get("/flowers/555.png", params={"steps": 5}).content != response.content
    assert api.get(response.headers["content-location"]).content == response.content
    [image] = make(api, steps=4, seed=555)["images"]
    assert image["url"] == response.headers["content-location"]
    unchanged = api.get("/flowers/555.png?steps=4", headers={"If-None-Match": response.headers["etag"]})
    assert unchanged.status_code == 304


def test_the_same_key_gives_the_same_job(api: httpx.Client) -> None:
    key = {"Idempotency-Key": "acceptance-1"}
    first = api.post("/generate", json={"steps": 4, "count": 2}, headers=key).json()
    assert api.post("/generate", json={"count": 2, "steps": 4, "seed": None}, headers=key).json()["id"] == first["id"]
    ended = api.post("/generate", json={"steps": 4, "count": 2}, headers=key | {"Prefer": "wait=30"}).json()
    assert ended["status"] == "succeeded"
    assert ended["id"] == first["id"]
    assert ended["request"]["seed"] == first["request"]["seed"]
    other = api.post("/generate", json={"steps": 4, "count": 3}, headers=key)
    problem_of(other, 409, "idempotency-conflict")


def test_an_ended_job_cannot_be_canceled(api: httpx.Client) -> None:
    job = make(api, steps=4, seed=20)
    problem_of(api.delete(f"/jobs/{job['id']}"), 409, "job-ended")
    assert api.get(f"/jobs/{job['id']}").json()["status"] == "succeeded"


@pytest.mark.parametrize("moment", ["at once", "while it runs"])
def test_a_long_job_can_be_canceled(api: httpx.Client, moment: str) -> None:
    job = api.post("/generate", json={"steps": 1000, "count": 64}).json()
    while moment == "while it runs" and job["status"] == "queued":
        job = api.get(f"/jobs/{job['id']}").json()
    response = api.delete(f"/jobs/{job['id']}")
    assert response.status_code == 200
    assert response.json()["status"] == "canceled"
    assert response.json()["finished_at"]
    # The slots are free again: another flower does not wait for the 64000 image-steps.
    make(api, steps=4)
    after = api.get(f"/jobs/{job['id']}").json()
    assert after["status"] == "canceled"
    assert after["images"] == []


def test_what_is_served(api: httpx.Client) -> None:
    model = api.get("/model").json()
    assert model["name"] == "tiny"
    assert model["image_size"] == 16
    assert model["content_hash"].startswith(model["revision"])
    [image] = make(api, steps=4, seed=31)["images"]
    assert image["url"] == f"/images/{model['revision']}-31-4.png"


def test_ready_with_a_worker(api: httpx.Client) -> None:
    assert api.get("/health/live").json()["status"] == "live"
    ready = api.get("/health/ready")
    assert ready.status_code == 200
    assert (ready.json()["status"], ready.json()["workers"] >= 1) == ("ready", True)
