"""The whole service from outside: sixteen clients, against the bare sampler and against an eager loop in turn."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from benchmarks import report
from benchmarks.eager import eager_steps
from benchmarks.stack import Part, answers, embedded_queue, free_port, wait_until
from benchmarks.subject import default_bundle, trajectory_rows
from benchmarks.timing import interleaved
from model.noise import starting_noise
from model.sampling import Sampler

CLIENTS = 16
STEPS = 20
IMAGES = 64
"""A round's images through the service: four for each client."""
EAGER_IMAGES = 2
SLOTS = (8, 16)
ROUNDS = 3


def main() -> None:
    """Print images a second of the three arms, for each number of slots."""
    for slots in SLOTS:
        report.heading(f"Service: {CLIENTS} clients, {STEPS} steps, {slots} slots")
        _measure(slots)


def _measure(slots: int) -> None:
    bundle = default_bundle()
    sampler = Sampler(bundle)
    seeds = itertools.count()
    with TemporaryDirectory() as folder, embedded_queue(Path(folder)):
        home, port = Path(folder), free_port()
        url = f"http://127.0.0.1:{port}"
        with (
            Part("api", home, "--port", str(port)),
            Part("worker", home, BOUQUET_SLOTS=str(slots)),
            ThreadPoolExecutor(CLIENTS) as pool,
            httpx.Client(base_url=url, timeout=120.0, limits=httpx.Limits(max_connections=CLIENTS)) as client,
        ):
            wait_until(lambda: answers(f"{url}/health/ready"))

            def serve() -> None:
                list(pool.map(lambda seed: _post(client, seed), itertools.islice(seeds, IMAGES)))

            def sample() -> None:
                for _ in range(IMAGES // slots):
                    sampler.sample([next(seeds) for _ in range(slots)], STEPS)

            def loop_eagerly() -> None:
                for seed in itertools.islice(seeds, EAGER_IMAGES):
                    noise = starting_noise(seed, bundle.image_size)
                    eager_steps(bundle, noise[None], trajectory_rows(bundle, seed, STEPS))

            seconds = interleaved({"service": serve, "sampler": sample, "eager": loop_eagerly}, ROUNDS)
    rates = {"service": IMAGES / seconds["service"], "sampler": IMAGES / seconds["sampler"]}
    rates["eager"] = EAGER_IMAGES / seconds["eager"]
    names = {
        "service": f"the service, {CLIENTS} clients",
        "sampler": f"the bare sampler, batches of {slots}",
        "eager": "an eager loop, one request at a time",
    }
    report.table(
        ("arm", "images/s", "the service is faster by"),
        [(names[arm], rate, rates["service"] / rate) for arm, rate in rates.items()],
    )


def _post(client: httpx.Client, seed: int) -> None:
    """One flower, waited for. Every seed is new, so that nothing comes from the store."""
    answer = client.post("/generate", json={"steps": STEPS, "seed": seed}, headers={"Prefer": "wait=60"})
    answer.raise_for_status()
    if answer.json()["status"] != "succeeded":
        raise RuntimeError(f"not succeeded: {json.dumps(answer.json())}")
