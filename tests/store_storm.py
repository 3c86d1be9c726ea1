"""Jobs while the image store fails a share of all calls: none is lost, and none has an image that is wrong.

    python -m tests.store_storm --jobs 1000 --share 0.1

A Valkey, a real S3 server behind a proxy that fails calls in all the ways of tests/faulty_proxy.py, and light workers,
of which one is killed on the way. Every image is read from the server itself and compared with what its seed makes.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rq.job import Job

from tests.faulty_proxy import FaultyProxy
from tests.light_worker import light_image
from tests.nursery import Nursery
from tests.processes import poll
from tests.s3_server import BUCKET, S3Server
from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs, WorkerProcess
from worker.protocol import GenerationResult

_ENDED = ("finished", "failed", "stopped", "canceled")
_WORKERS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Findings:
    """What became of the jobs; `lost` neither finished nor failed in time, `wrong` have an image that is not theirs."""

    jobs: int
    images: int
    finished: int
    failed: list[str]
    lost: list[str]
    wrong: list[str]
    twice: list[str]
    calls: int
    struck: dict[str, int]
    seconds: float

    @property
    def text(self) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.struck.items()))
        return (
            f"{self.jobs} jobs of {self.images} images, {self.calls} calls of the store, {sum(self.struck.values())} "
            f"of them failed on purpose ({faults}), in {self.seconds:.0f} s: {self.finished} finished, "
            f"{len(self.failed)} failed, {len(self.lost)} lost, {len(self.wrong)} wrong, {len(self.twice)} done twice"
        )


def storm(folder: Path, nursery: Nursery, jobs: int, share: float, *, seconds: float = 300) -> Findings:
    """Runs it in an empty folder; `seconds` is how long the last job may take after the first one was posted."""
    valkey, server = ValkeyServer(folder / "queue"), S3Server(folder / "s3.log")
    proxy = FaultyProxy(server.address, share)
    crew: list[WorkerProcess] = []
    environment = server.environment(proxy.url) | {
        "BOUQUET_STORE": f"s3://{BUCKET}/storm",
        "BOUQUET_STORE_SECONDS": "30",
        "BOUQUET_REDIS_URL": valkey.url,
    }
    try:
        valkey.start()
        with valkey.connect() as client:
            for number in range(_WORKERS):
                name = f"worker{number}"
                crew.append(WorkerProcess.start_light(nursery, name, folder / f"{name}.log", environment, []))
            for worker in crew:
                poll(lambda worker=worker: worker.is_ready(client), f"{worker.name} is ready", 60)
            book = Jobs(client)
            began = time.monotonic()
            plan = [(2 + number % 5, 10 * number, 1 + number % 3) for number in range(jobs)]
            posted = [(book.post(*post), post[0]) for post in plan]
            early = [job for job, _ in posted[:50]]
            poll(lambda: sum(book.status(job) in _ENDED for job in early) > len(early) / 2, "a half of 50", seconds)
            crew[0].kill()
            wait_for_all(book, [job for job, _ in posted], seconds)
            return _audit(book, server, proxy, posted, time.monotonic() - began)
    finally:
        for worker in crew:
            worker.close()
        proxy.close()
        server.close()
        valkey.close()


def wait_for_all(book: Jobs, jobs: list[Job], seconds: float) -> None:
    """Returns when all have ended, or when the time is over."""
    deadline, left = time.monotonic() + seconds, list(jobs)
    while left and time.monotonic() < deadline:
        left = [job for job in left if book.status(job) not in _ENDED]
        time.sleep(0.2)


def _audit(book: Jobs, server: S3Server, proxy: FaultyProxy, posted: list[tuple[Job, int]], seconds: float) -> Findings:
    failed, lost, wrong, twice, images, finished = [], [], [], [], 0, 0
    client = server.client()
    for job, steps in posted:
        status = book.status(job)
        if status == "finished":
            finished += 1
            result = book.result(job)
            images += len(result.images)
            if book.successes(job) != 1:
                twice.append(job.id)
            if not _is_right(client, result, steps):
                wrong.append(job.id)
        elif status == "failed":
            failed.append(book.failure(job).to_text())
        else:
            lost.append(f"{job.id} is {status}")
    struck = {fault.name.lower(): count for fault, count in proxy.struck.items()}
    return Findings(len(posted), images, finished, failed, lost, wrong, twice, proxy.calls, struck, seconds)


def _is_right(client: object, result: GenerationResult, steps: int) -> bool:
    for image in result.images:
        key = f"storm/{result.revision}/{image.seed % 256:02x}/{image.name}"
        data = client.get_object(Bucket=BUCKET, Key=key)["Body"].read()  # type: ignore[attr-defined]
        pixels = np.asarray(Image.open(io.BytesIO(data)))
        if hashlib.sha256(data).hexdigest() != image.sha256:
            return False
        if not np.array_equal(pixels, light_image(image.seed, steps)):
            return False
    return True


def main() -> int:
    """Exit code 0 if nothing was lost, wrong, done twice or failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.store_storm", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--share", type=float, default=0.1, help="of the calls that fail, 0 to 1")
    options = parser.parse_args()
    nursery = Nursery()
    try:
        with tempfile.TemporaryDirectory() as folder:
            findings = storm(Path(folder), nursery, options.jobs, options.share)
    finally:
        nursery.close()
    print(findings.text)
    for problem in [*findings.failed, *findings.lost, *findings.wrong, *findings.twice][:20]:
        print(problem)
    return 0 if findings.finished == findings.jobs and not (findings.wrong or findings.twice) else 1


if __name__ == "__main__":
    sys.exit(main())
