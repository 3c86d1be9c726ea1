"""Jobs whose time is over: as if they had never been, at every address."""

from __future__ import annotations

from pathlib import Path

from rq.job import Job

from tests.front_end import FrontEnd
from tests.integration.conftest import StartWorker
from tests.valkey_server import ValkeyServer


def test_an_expired_job_is_not_there(
    valkey: ValkeyServer, store_folder: Path, tmp_path: Path, start_light_worker: StartWorker
) -> None:
    start_light_worker()
    with FrontEnd(tmp_path / "front", valkey.url, store_folder) as front_end, valkey.connect() as client:
        api = front_end.api
        key = {"Idempotency-Key": "mine", "Prefer": "wait=30"}
        job = api.post("/generate", json={"steps": 3, "count": 2}, headers=key).json()
        kept = api.post("/generate", json={"steps": 4}, headers={"Prefer": "wait=30"}).json()
        assert [job["status"], kept["status"]] == ["succeeded", "succeeded"]
        images = {image["url"]: api.get(image["url"]).content for image in job["images"]}

        assert client.expire(Job.key_for(job["id"]), 0)  # what its time to live will do
        address = f"/jobs/{job['id']}"
        for answer in (api.get(address), api.get(f"{address}/events"), api.delete(address), api.head(address)):
            assert answer.status_code == 404
        assert api.get(address).json()["code"] == "job-not-found"
        seen = {"Last-Event-ID": "succeeded-1767268800000000-done"}
        assert api.get(f"{address}/events", headers=seen).status_code == 404
        assert [listed["id"] for listed in api.get("/jobs").json()["jobs"]] == [kept["id"]]

        # Its images outlive it, and its key is free for another one.
        assert {url: api.get(url).content for url in images} == images
        again = api.post("/generate", json={"steps": 3, "count": 2}, headers=key).json()
        assert again["id"] != job["id"]
        assert again["status"] == "succeeded"
