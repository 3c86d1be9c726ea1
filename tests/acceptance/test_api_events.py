"""Watching a job of the whole service, with the network that computes it."""

from __future__ import annotations

import base64
import io
import os

import httpx
import numpy as np
from PIL import Image

from tests.event_stream import statuses, watch


def test_a_flower_blooms_before_the_eyes_of_who_watches(api: httpx.Client) -> None:
    job = api.post("/generate", json={"steps": 500, "seed": 4242, "count": 3}).json()
    events = list(watch(api, job["id"]))
    seen = statuses(events)
    if "ACCEPTANCE_URL" in os.environ:
        # A running service, whose workers may be killed meanwhile (tests/many_hosts.py): then the job begins again.
        seen = seen[-2:]
    assert seen in (["queued", "running", "succeeded"], ["running", "succeeded"])
    assert events[-1].name == "done"
    images = {image["seed"]: image for image in events[-1].data["images"]}
    assert events[-1].data == api.get(f"/jobs/{job['id']}").json()

    previews = [event.data for event in events if event.name == "preview"]
    assert {preview["seed"] for preview in previews} == {4242, 4243, 4244}
    for preview in previews:
        with Image.open(io.BytesIO(base64.b64decode(preview["png"]))) as shown:
            assert (shown.format, shown.size) == ("PNG", (16, 16))
            image = images[preview["seed"]]
            with Image.open(io.BytesIO(api.get(image["url"]).content)) as finished:
                same = np.array_equal(np.asarray(shown), np.asarray(finished))
            assert same or preview["steps_done"] < 500
    assert len({preview["png"] for preview in previews}) > 3


def test_the_document_tells_of_the_events(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    answers = document["paths"]["/jobs/{job_id}/events"]["get"]["responses"]
    content = answers["200"]["content"]
    assert list(content) == ["text/event-stream"]
    assert "event: preview" in next(iter(content["text/event-stream"]["examples"].values()))["value"]
    assert {"204", "401", "404"} <= answers.keys()
    assert {"WatchedProgress", "PreviewImage"} <= document["components"]["schemas"].keys()
