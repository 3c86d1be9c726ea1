"""Both clients, and `bouquet generate --server`, against a front end and a worker that make flowers."""

from __future__ import annotations

import asyncio
import csv
import gc
import io
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.cli import main
from app.client import AsyncClient, Client, Done, InvalidRequestError, JobEvent, Preview, Progress, Retries, Status
from app.schemas import JobStatus
from tests.front_end import ROOT, FrontEnd
from tests.integration.conftest import StartWorker
from tests.light_worker import REVISION, SIZE, light_image
from tests.processes import poll
from tests.valkey_server import ValkeyServer

QUEUE_LIMIT = 700
FRONT_END = {"queue_limit": QUEUE_LIMIT}


@pytest.fixture
def url(front_end: FrontEnd) -> str:
    return str(front_end.api.base_url)


def pixels(png: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(png)))


def statuses(events: list[JobEvent]) -> list[str]:
    return [event.job.status.value for event in events if isinstance(event, Status)]


def test_a_job_from_its_request_to_its_pictures(url: str, start_light_worker: StartWorker) -> None:
    start_light_worker("--step-seconds", "0.1")
    with Client(url) as client:
        assert client.is_ready()
        assert client.model().revision == REVISION
        job = client.generate(steps=20, seed=7, count=2, idempotency_key="mine")
        events = list(client.events(job.id))
        assert statuses(events)[-1] == "succeeded"
        assert isinstance(events[-1], Done)
        assert {type(event) for event in events} >= {Status, Progress, Preview, Done}
        preview = next(event for event in events if isinstance(event, Preview))
        assert pixels(preview.png).shape == (SIZE, SIZE, 3)
        ended = client.wait(job)
        assert client.generate(steps=20, seed=7, count=2, idempotency_key="mine").id == job.id
        assert [job.id for job in client.jobs(JobStatus.SUCCEEDED)] == [ended.id]
        for image in ended.images:
            np.testing.assert_array_equal(pixels(client.image(image)), light_image(image.seed, 20))
        assert client.flower(8, steps=20) == client.image(ended.images[1])
        long = client.generate(steps=500, seed=100)
        assert client.wait(long, seconds=0.1).status in (JobStatus.QUEUED, JobStatus.RUNNING)
        assert client.cancel(long.id).status is JobStatus.CANCELED


def test_the_same_without_blocking(url: str, start_light_worker: StartWorker) -> None:
    start_light_worker("--step-seconds", "0.01")

    async def use() -> None:
        async with AsyncClient(url) as client:
            jobs = await asyncio.gather(*(client.generate(steps=10, seed=seed) for seed in range(5)))
            watched = [event async for event in client.events(jobs[0].id)]
            assert isinstance(watched[-1], Done)
            ended = await asyncio.gather(*map(client.wait, jobs))
            pictures = await asyncio.gather(*(client.image(job.images[0]) for job in ended))
            for seed, png in enumerate(pictures):
                np.testing.assert_array_equal(pixels(png), light_image(seed, 10))
            assert {job.id async for job in client.jobs()} == {job.id for job in jobs}
            assert await client.is_ready()
            assert (await client.model()).revision == REVISION
            assert await client.flower(0, steps=10) == pictures[0]
            long = await client.generate(steps=500, seed=100)
            assert (await client.cancel(long.id)).status is JobStatus.CANCELED

    asyncio.run(use())


def test_a_morph_and_a_flower_on_its_way(url: str, start_light_worker: StartWorker) -> None:
    start_light_worker()

    async def use(client: AsyncClient) -> tuple[bytes, bytes]:
        async with client:
            return await client.morph(7, 9, frames=4, steps=5), await client.flower(7, steps=9, after=3)

    with Client(url) as client:
        animation, sketch = client.morph(7, 9, frames=4, steps=5), client.flower(7, steps=9, after=3)
        assert asyncio.run(use(AsyncClient(url))) == (animation, sketch)
        wishes = [job.request for job in client.jobs()]
        assert [(wish.steps, wish.count, wish.toward, wish.after) for wish in wishes] == [
            (9, 1, None, 3),
            (5, 4, 9, None),
        ]
        with pytest.raises(InvalidRequestError, match="toward"):
            client.morph(7, 7)
    with Image.open(io.BytesIO(animation)) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("WEBP", 4)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), light_image(7, 5))
    with Image.open(io.BytesIO(sketch)) as image:
        assert image.info["bouquet:after"] == "3"


def test_the_command_fetches_a_morph(
    url: str, tmp_path: Path, start_light_worker: StartWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    start_light_worker()
    out = tmp_path / "new" / "way.webp"
    how = ["--frames", "3", "--steps", "4", "--sampler", "multistep"]
    assert main(["morph", "7", "9", "--server", url, "-o", str(out), *how]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    with Client(url) as client:
        assert out.read_bytes() == client.morph(7, 9, frames=3, steps=4, sampler="multistep")
        assert len(list(client.jobs())) == 1
    assert main(["morph", "7", "7", "--server", url, "-o", str(out)]) == 1
    assert capsys.readouterr().err.startswith("bouquet morph: toward: must be another seed")
    assert main(["morph", "7", "9", "--server", url, "-o", str(tmp_path), *how]) == 1
    assert f"--output {tmp_path} cannot be written" in capsys.readouterr().err


def test_events_go_on_where_they_were_at_another_front_end(
    valkey: ValkeyServer, tmp_path: Path, store_folder: Path, start_light_worker: StartWorker
) -> None:
    """The first one is killed under the stream, and another one takes its address."""
    hold = tmp_path / "hold"
    hold.touch()
    start_light_worker("--hold", str(hold))
    with FrontEnd(tmp_path / "first", valkey.url, store_folder) as first:
        port = first.api.base_url.port
        assert port is not None
        with Client(str(first.api.base_url), retries=Retries(restart=30)) as client:
            job = client.generate(steps=10, seed=7)
            stream = client.events(job.id)
            events = [next(stream)]
            while statuses(events)[-1] != "running":
                events.append(next(stream))
            first.process.send_signal(signal.SIGKILL)
            first.process.wait()
            hold.unlink()
            with FrontEnd(tmp_path / "second", valkey.url, store_folder, port=port):
                events += stream
    assert statuses(events) in (["queued", "running", "succeeded"], ["running", "succeeded"])
    assert isinstance(events[-1], Done)


def command(url: str, out: Path, *options: str) -> list[str]:
    return ["generate", "--server", url, "--steps", "10", "--seed", "50", "--count", "200", "--out", str(out), *options]


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "flowers.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_many_images_through_a_small_queue(
    url: str, tmp_path: Path, start_light_worker: StartWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    """2000 image-steps, of which 700 may wait: refused requests are sent again, and none is missing."""
    start_light_worker("--step-seconds", "0.005")
    out = tmp_path / "flowers"
    assert main(command(url, out)) == 0
    assert capsys.readouterr().out == f"{out}\n"
    about = lines(out)
    assert sorted(int(line["seed"]) for line in about) == list(range(50, 250))
    for line in about[::40]:
        png = (out / line["file"]).read_bytes()
        assert len(png) == int(line["bytes"])
        np.testing.assert_array_equal(pixels(png), light_image(int(line["seed"]), 10))


def accepted(api: httpx.Client) -> float:
    text = api.get("/metrics").text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("bouquet_jobs_accepted_total"))


def test_a_run_that_was_killed_goes_on_and_asks_for_what_is_missing_alone(
    front_end: FrontEnd, url: str, tmp_path: Path, start_light_worker: StartWorker
) -> None:
    start_light_worker("--step-seconds", "0.005")
    out = tmp_path / "flowers"
    first = subprocess.Popen([sys.executable, "-m", "app", *command(url, out)], cwd=ROOT)
    poll(lambda: (out / "flowers.csv").exists() and len(lines(out)) >= 20, "some images are there", 60)
    first.kill()
    first.wait()
    there = {line["file"]: (out / line["file"]).stat().st_ino for line in lines(out)}
    assert len(there) < 200
    assert main(command(url, out)) == 0
    assert len(lines(out)) == 200
    # A file that is written anew is another file.
    assert {name: (out / name).stat().st_ino for name in there} == there
    before = accepted(front_end.api)
    assert main(command(url, out)) == 0
    assert accepted(front_end.api) == before


def test_whoever_interrupts_a_run_wants_the_rest_no_more(
    front_end: FrontEnd, url: str, tmp_path: Path, start_light_worker: StartWorker
) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    start_light_worker("--hold", str(hold))
    # Of one step: all find room in the queue, so that none is being asked for when it is interrupted.
    few = command(url, tmp_path / "flowers", "--steps", "1")
    run = subprocess.Popen([sys.executable, "-m", "app", *few], cwd=ROOT)

    def statuses() -> set[str]:
        return {job["status"] for job in front_end.api.get("/jobs").json()["jobs"]}

    poll(lambda: "running" in statuses(), "a job runs", 60)
    run.send_signal(signal.SIGINT)
    assert run.wait(30) == 130
    poll(lambda: statuses() == {"canceled"}, "all jobs are canceled")
    hold.unlink()


def test_many_images_as_one_file(url: str, tmp_path: Path, start_light_worker: StartWorker) -> None:
    start_light_worker()
    out = tmp_path / "flowers.npz"
    assert main(command(url, out)) == 0
    with np.load(out) as found:
        np.testing.assert_array_equal(found["seeds"], np.arange(50, 250))
        assert found["images"].shape == (200, SIZE, SIZE, 3)
        np.testing.assert_array_equal(found["images"][7], light_image(57, 10))
    assert [path.name for path in tmp_path.glob("flowers*")] == ["flowers.npz"]
    assert main(command(url, out)) == 1  # it is there already


def test_what_cannot_be_made_is_told_and_the_rest_is_there(
    url: str, tmp_path: Path, start_light_worker: StartWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    start_light_worker("--poison", "55")
    out = tmp_path / "flowers"
    assert main(command(url, out)) == 1
    assert "64 of 200 images could not be made" in capsys.readouterr().err
    assert sorted(int(line["seed"]) for line in lines(out)) == list(range(50 + 64, 250))


def test_many_images_need_a_folder(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--server", url, "--count", "65"]) == 1
    assert "--out DIR" in capsys.readouterr().err
    assert main(["generate", "--server", url, "--count", "2", "--seed", str(2**53 - 1)]) == 1
    assert "--seed" in capsys.readouterr().err


SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)


def test_what_the_documentation_shows_runs(
    url: str, tmp_path: Path, start_light_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_light_worker("--step-seconds", "0.002")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert len(SNIPPETS) >= 6
    for snippet in SNIPPETS:
        assert "http://127.0.0.1:8000" in snippet
        code = compile(snippet.replace("http://127.0.0.1:8000", url.rstrip("/")), "docs/api.md", "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of files that only the collector closes
            exec(code, {})
            gc.collect()
    assert {"flower.png", "5.png", "8.png", "morph.webp"} <= {path.name for path in Path.cwd().iterdir()}
