"""Morphs, and flowers on their way: a real front end, a real Valkey, and a worker whose network is known."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.noise import noise_between
from model.schedule import Schedule
from tests.integration.conftest import StartWorker
from tests.light_worker import REVISION, SIZE, LightSampler, light_image
from tests.shared_parts import SharedParts
from worker.protocol import GenerationRequest

Pixels = npt.NDArray[np.uint8]


def frames(animation: bytes) -> list[Pixels]:
    with Image.open(io.BytesIO(animation)) as image:
        assert image.format == "WEBP"
        pictures = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            pictures.append(np.asarray(image.convert("RGB")))
    return pictures


def light_way(noise: npt.NDArray[np.float32], steps: int) -> list[Pixels]:
    """What a light worker predicts after each step."""
    light, images, seen = LightSampler(), noise[None], []
    predicted = np.zeros_like(images)
    for rates in Schedule().step_rates(steps):
        images, predicted = light.advance(images, predicted, rates[None, None])
        seen.append(light.to_uint8(predicted)[0])
    return seen


def jobs(api: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get("/jobs", params={"limit": 100}).json()["jobs"]
    return found


def test_a_morph_leads_from_one_flower_to_the_other(api: httpx.Client, start_light_worker: StartWorker) -> None:
    start_light_worker()
    answer = api.get("/morphs/7-9.webp", params={"frames": 5, "steps": 3})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/webp"
    pictures = frames(answer.content)
    assert len(pictures) == 5
    for part, picture in enumerate(pictures):
        np.testing.assert_array_equal(picture, light_way(noise_between(7, 9, part, 4, SIZE), 3)[-1])
    for picture, seed in ((pictures[0], 7), (pictures[-1], 9)):
        flower = api.get(f"/flowers/{seed}.png", params={"steps": 3}).content
        np.testing.assert_array_equal(picture, np.asarray(Image.open(io.BytesIO(flower)).convert("RGB")))
        np.testing.assert_array_equal(picture, light_image(seed, 3))

    # The way back is made of the same images, and nothing is left to compute.
    made = len(jobs(api))
    back = api.get("/morphs/9-7.webp", params={"frames": 5, "steps": 3})
    for there, here in zip(pictures, reversed(frames(back.content)), strict=True):
        np.testing.assert_array_equal(there, here)
    assert len(jobs(api)) == made


def test_a_morph_is_one_job_however_many_ask(api: httpx.Client, start_light_worker: StartWorker) -> None:
    worker = start_light_worker("--step-seconds", "0.02")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: api.get("/morphs/1-2.webp", params={"frames": 6, "steps": 4}), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    [job] = jobs(api)
    asked = {"steps": 4, "seed": 1, "count": 6, "sampler": "ddim", "toward": 2}
    assert job["request"] == asked | {"after": None, "kind": None}
    assert job["progress"] == {"steps_done": 24, "steps_total": 24, "images_done": 6}
    assert [image["url"].rpartition("/")[2] for image in job["images"]] == [
        f"{REVISION}-1-4.webp",
        *(f"{REVISION}-1to2at{part}of5-4.webp" for part in range(1, 5)),
        f"{REVISION}-2-4.webp",
    ]
    frame = api.get(job["images"][1]["url"])
    assert (frame.status_code, frame.headers["content-type"]) == (200, "image/webp")
    assert f'"{job["images"][1]["sha256"]}"' == frame.headers["etag"]

    # It is cached like a flower.
    first = answers[0]
    assert first.headers["cache-control"] == "public, max-age=86400"
    kept = api.get(str(first.url), headers={"If-None-Match": first.headers["etag"]})
    assert (kept.status_code, kept.content) == (304, b"")
    head = api.head(str(first.url))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))
    assert head.headers["etag"] == first.headers["etag"]
    worker.kill()
    assert api.get(str(first.url)).content == first.content


@pytest.mark.parametrize(
    "middle", ["1to2at1of2-20", "1to2at1of2-20-multistep", "1to2at1of2-20-after3", "1-20-of-dahlia"]
)
def test_there_is_no_image_at_an_address_that_no_job_tells(
    api: httpx.Client, start_light_worker: StartWorker, middle: str
) -> None:
    start_light_worker()
    exact = api.get("/flowers/1.png").raise_for_status().headers["content-location"]
    assert exact == f"/images/{REVISION}-1-20.png"
    before = jobs(api)
    # Frames of a morph are WebP, and the bundle knows no kinds. What is there is kept for ever, so it has to be that.
    answer = api.get(f"/images/{REVISION}-{middle}.png")
    assert (answer.status_code, answer.json()["code"]) == (404, "image-not-found"), answer.text
    assert jobs(api) == before


def test_what_was_lost_is_made_again(api: httpx.Client, start_light_worker: StartWorker, store_folder: Path) -> None:
    start_light_worker()
    addresses = {"/morphs/3-4.webp?frames=3&steps=2": ".webp", "/flowers/3.png?steps=2": ".png"}
    for address, ending in addresses.items():
        before = api.get(address).raise_for_status().content
        [lost, *_] = sorted(store_folder.rglob(f"*{ending}"))
        lost.unlink()
        again = api.get(address)
        assert again.status_code == 200, again.text
        assert again.content == before


def test_a_morph_waits_like_everything_else(api: httpx.Client, start_light_worker: StartWorker) -> None:
    assert api.get("/morphs/1-2.webp").json()["code"] == "not-ready"
    worker = start_light_worker()
    worker.kill()
    api.post("/generate", json={"steps": 1000, "count": 64})
    for _ in range(8):
        refused = api.post("/generate", json={"steps": 1000, "count": 64})
    assert refused.json()["code"] == "queue-full"
    morph = api.get("/morphs/1-2.webp", params={"frames": 64, "steps": 1000})
    assert (morph.status_code, morph.json()["code"]) == (429, "queue-full")
    assert int(morph.headers["retry-after"]) > 0


@pytest.mark.parametrize("sampler", ["ddim", "multistep"])
def test_a_flower_on_its_way_is_what_its_previews_show(
    api: httpx.Client, start_light_worker: StartWorker, sampler: str
) -> None:
    start_light_worker()
    for after in (1, 4, 7):
        answer = api.get("/flowers/7.png", params={"steps": 8, "after": after, "sampler": sampler})
        assert answer.status_code == 200, answer.text
        with Image.open(io.BytesIO(answer.content)) as image:
            assert image.info["bouquet:after"] == str(after)
            if sampler == "ddim":
                expected = light_way(noise_between(7, 8, 0, 1, SIZE), 8)[after - 1]
                np.testing.assert_array_equal(np.asarray(image), expected)
        assert api.get(answer.headers["content-location"]).content == answer.content
    assert [job["progress"]["steps_total"] for job in jobs(api)] == [7, 4, 1]
    whole = api.get("/flowers/7.png", params={"steps": 8, "after": 9, "sampler": sampler})
    assert "after" not in whole.headers["content-location"]
    assert api.get("/flowers/7.png", params={"steps": 8, "sampler": sampler}).content == whole.content


@pytest.mark.parametrize(
    ("address", "status", "field"),
    [
        ("/morphs/7-7.webp", 422, "toward"),
        ("/morphs/07-8.webp", 422, "seed"),
        ("/morphs/7-.webp", 404, None),
        ("/morphs/-7-8.webp", 422, "seed"),
        ("/morphs/7-8-9.webp", 422, "seed"),
        ("/morphs/7-9007199254740992.webp", 422, "toward"),
        ("/morphs/7-8.webp?frames=1", 422, "frames"),
        ("/morphs/7-8.webp?frames=65", 422, "frames"),
        ("/morphs/7-8.webp?steps=0", 422, "steps"),
        ("/morphs/7-8.webp?sampler=euler", 422, "sampler"),
        ("/morphs/7-8.webp?frame=3", 422, "frame"),
        ("/morphs/7-8.png", 404, None),
        ("/morphs/7.webp", 404, None),
        ("/flowers/7.png?after=0", 422, "after"),
        ("/flowers/7.png?after=1001", 422, "after"),
        (f"/images/{REVISION}-8to7at1of2-20.webp", 404, None),
        (f"/images/{REVISION}-7to8at2of4-20.webp", 404, None),
        (f"/images/{REVISION}-7to8at1of2-20.webp", 404, None),
    ],
)
def test_what_is_no_morph(shared: SharedParts, address: str, status: int, field: str) -> None:
    answer = shared.front_end.api.get(address)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_the_names_of_a_morph_do_not_depend_on_its_direction() -> None:
    there = GenerationRequest(20, 7, 7, toward=90).image_keys
    back = GenerationRequest(20, 90, 7, toward=7).image_keys
    assert there == tuple(reversed(back))
    assert len(set(there)) == 7
    # Half of the way is half of the way, however many frames there are.
    assert GenerationRequest(20, 7, 3, toward=90).image_keys[1] == there[3]
