"""`bouquet serve` as people run it, with real workers: flowers come out, and no signal or death loses a job."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.client import Client, InvalidRequestError
from app.png_text import png_text
from app.schemas import Job, JobStatus
from tests.processes import poll
from tests.serving import ROOT, START_SECONDS, Serve

# Short leases, so that a killed worker's jobs come back within seconds.
QUICK = {"BOUQUET_LEASE_SECONDS": "3", "BOUQUET_BEAT_SECONDS": "0.5", "BOUQUET_MAINTENANCE_SECONDS": "0.5"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made in a process of its own, so that this one stays without TensorFlow."""
    path = tmp_path_factory.mktemp("bundle") / "tiny"
    make = f"make_tiny_bundle(pathlib.Path({str(path)!r}), classes=3)"
    script = f"import pathlib; from tests.bundles import make_tiny_bundle; {make}"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=120)
    return path


@pytest.fixture(scope="module")
def env(bundle: Path) -> dict[str, str]:
    return QUICK | {"BOUQUET_BUNDLE": str(bundle)}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, env: dict[str, str]) -> Iterator[Serve]:
    """One service for the tests that leave it as they found it: running and ready."""
    with Serve(tmp_path_factory.mktemp("home"), env=env) as serve:
        serve.wait_until_ready()
        yield serve


def wait_for_job(url: str, job: Job, seconds: float = START_SECONDS) -> Job:
    """Return the job once it has ended, whatever happens to the service meanwhile."""
    ended: list[Job] = []

    def has_ended() -> bool:
        try:
            latest = Job.model_validate(httpx.get(f"{url}/jobs/{job.id}", timeout=10).raise_for_status().json())
        except httpx.HTTPError:
            return False
        if latest.status.is_terminal:
            ended.append(latest)
        return bool(ended)

    poll(has_ended, f"job {job.id} has ended", seconds)
    return ended[0]


def pictures(url: str, job: Job) -> list[bytes]:
    assert job.status is JobStatus.SUCCEEDED, job
    with Client(url) as client:
        return [client.image(image) for image in job.images]


def test_a_flower_is_made_and_is_the_same_alone_and_among_others(service: Serve) -> None:
    with Client(service.wait_until_ready()) as client:
        alone = client.wait(client.generate(steps=20, seed=7))
        among = client.wait(client.generate(steps=20, seed=5, count=4))
        (flower,) = pictures(service.wait_until_ready(), alone)
        assert pictures(service.wait_until_ready(), among)[2] == flower
    assert flower.startswith(b"\x89PNG")
    assert hashlib.sha256(flower).hexdigest() == alone.images[0].sha256
    # Computed, or found in the store by the front end: both tell the kind that the file tells.
    with Client(service.wait_until_ready()) as client:
        again = client.generate(steps=20, seed=7)
    assert again.images == alone.images
    assert alone.images[0].kind == png_text(flower, "bouquet:kind") is not None


def test_a_kind_is_asked_for_in_every_way_and_is_one_flower(service: Serve, tmp_path: Path) -> None:
    url = service.wait_until_ready()
    one, way, many = tmp_path / "one.png", tmp_path / "way.webp", tmp_path / "many"
    how = ["--server", url, "--steps", "4", "--kind", "kind 1"]
    for command in (
        ["generate", "--seed", "7", "-o", str(one), *how],
        ["generate", "--seed", "7", "--count", "2", "--out", str(many), *how],
        ["morph", "7", "8", "--frames", "2", "-o", str(way), *how],
    ):
        subprocess.run([sys.executable, "-m", "app", *command], cwd=ROOT, check=True, timeout=60)
    with Client(url) as client:
        job = client.wait(client.generate(steps=4, seed=7, count=2, kind="kind 1"))
        first, second = pictures(url, job)
        assert [image.kind for image in job.images] == ["kind 1"] * 2
        assert one.read_bytes() == client.flower(7, steps=4, kind="kind 1") == first != second
        assert png_text(first, "bouquet:kind") == "kind 1"
        assert {path.read_bytes() for path in many.glob("*.png")} == {first, second}
        assert way.read_bytes() == client.morph(7, 8, frames=2, steps=4, kind="kind 1")
        assert client.model().classes == ["kind 0", "kind 1", "kind 2"]
        other = client.flower(7, steps=4)
        assert (other == first) == (png_text(other, "bouquet:kind") == "kind 1")
        with pytest.raises(InvalidRequestError, match="did you mean 'kind 1'"):
            client.generate(kind="kind-1")


@pytest.mark.parametrize("count", [1, 3])
def test_generate_writes_the_servers_flowers(service: Serve, tmp_path: Path, count: int) -> None:
    url = service.wait_until_ready()
    output = tmp_path / "new folder" / "flower.png"
    command = ["generate", "--server", url, "--steps", "5", "--seed", "7", "--count", str(count), "-o", str(output)]
    result = subprocess.run(
        [sys.executable, "-m", "app", *command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    paths = [output] if count == 1 else [output.with_name(f"flower-{seed}.png") for seed in (7, 8, 9)]
    assert result.stdout.split("\n")[:-1] == [str(path) for path in paths]
    with Client(url) as client:
        made = pictures(url, client.wait(client.generate(steps=5, seed=7, count=count)))
    assert [path.read_bytes() for path in paths] == made


def test_a_killed_worker_is_started_again_and_its_job_finishes(service: Serve) -> None:
    url = service.wait_until_ready()
    with Client(url) as client:
        job = client.generate(steps=400, seed=1, count=4)
        poll(lambda: client.job(job.id).status is JobStatus.RUNNING, "the job runs")
        service.kill("worker-1")
    service.wait_for(r"worker-1 ended \(killed by signal 9, SIGKILL; out of memory\?\)")
    service.wait_for("worker-1 is process", times=2)
    # It takes a start and a lease, and then all the steps from the first.
    assert len(pictures(url, wait_for_job(url, job, 2 * START_SECONDS))) == 4


def test_a_killed_valkey_is_started_again_and_a_running_job_finishes(service: Serve) -> None:
    url = service.wait_until_ready()
    workers = service.process_ids("worker-1")
    with Client(url) as client:
        job = client.generate(steps=400, seed=1000, count=4)
        poll(lambda: client.job(job.id).status is JobStatus.RUNNING, "the job runs")
        service.kill("valkey")
    assert len(pictures(url, wait_for_job(url, job))) == 4
    assert service.process_ids("worker-1") == workers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["in-order", "killed"])
def test_jobs_survive_the_service(tmp_path: Path, env: dict[str, str], number: signal.Signals) -> None:
    """One job runs, one waits behind it: after a stop both are still to be had, and end as if nothing had been."""
    impatient = env | {"BOUQUET_DRAIN_SECONDS": "0.5", "BOUQUET_SLOTS": "1", "BOUQUET_JOBS_HELD": "1"}
    with Serve(tmp_path, env=impatient) as first, Client(first.wait_until_ready()) as client:
        running = client.generate(steps=300, seed=1, count=4)
        waiting = client.generate(steps=20, seed=7)
        poll(lambda: client.job(running.id).status is JobStatus.RUNNING, "the first job runs")
        code = first.end(number)
        first.assert_nothing_left()
        assert code == (0 if number is signal.SIGINT else -signal.SIGKILL)
        if number is signal.SIGINT:
            order = ["stopping api", "stopping workers", "stopping valkey", "all parts have ended"]
            assert [first.text.index(phrase) for phrase in order] == sorted(map(first.text.index, order))
            assert "forced" not in first.text.split("stopping api")[1]
    with Serve(tmp_path, env=env) as second:
        url = second.wait_until_ready()
        assert len(pictures(url, wait_for_job(url, running))) == 4
        assert len(pictures(url, wait_for_job(url, waiting))) == 1


def test_two_workers_share_one_queue(tmp_path: Path, env: dict[str, str]) -> None:
    with Serve(tmp_path, "--workers", "2", env=env) as serve:
        url = serve.wait_until_ready()
        ready = f"{url}/health/ready"
        poll(lambda: httpx.get(ready, timeout=60).json().get("workers") == 2, "two workers", START_SECONDS)
        with Client(url) as client:
            jobs = [client.generate(steps=20, seed=seed) for seed in range(10)]
            assert all(client.wait(job).status is JobStatus.SUCCEEDED for job in jobs)


@pytest.mark.parametrize("content", [b"", b"not a bundle"])
def test_a_bundle_that_cannot_be_served_stops_the_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bundle").write_bytes(content)
    with Serve(tmp_path / "home", env={"BOUQUET_BUNDLE": str(tmp_path / "bundle")}) as serve:
        assert serve.wait(START_SECONDS) == 1
    assert "worker-1 cannot start; its lines above say what to change" in serve.text
    assert f"bouquet worker: {tmp_path / 'bundle'}" in serve.text
