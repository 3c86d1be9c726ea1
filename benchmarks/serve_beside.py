"""A small job beside a huge one: ten steps of one image, alone and while 64 images of 1000 steps are under way."""

from __future__ import annotations

import dataclasses
import statistics
import time

from benchmarks.serve_client import finished_at, post, wait_for
from benchmarks.serve_stack import Service
from benchmarks.stack import wait_until
from worker.protocol import MAX_COUNT, MAX_STEPS

SMALL_STEPS = 10
_LOOK_SECONDS = 0.02


@dataclasses.dataclass(frozen=True, slots=True)
class Beside:
    """Seconds from a small job's posting to its end, each time."""

    alone: list[float]
    beside: list[float]

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return statistics.median(self.beside) / statistics.median(self.alone)


def measure_beside(service: Service, first_seed: int, times: int) -> Beside:
    """Posts the small job so many times, each when the one before is done; then the same again beside the huge one."""
    alone = [_small(service, first_seed + number) for number in range(times)]
    huge = post(service, MAX_STEPS, first_seed, MAX_COUNT)
    wait_until(lambda: service.client.get(f"/jobs/{huge}").json()["progress"]["steps_done"] > 0)
    beside = [_small(service, first_seed + times + number) for number in range(times)]
    status = service.client.get(f"/jobs/{huge}").json()["status"]
    if status != "running":
        raise RuntimeError(f"the huge job was not there until the end: {status}; the network is too fast for this")
    service.client.delete(f"/jobs/{huge}").raise_for_status()
    return Beside(alone, beside)


def _small(service: Service, seed: int) -> float:
    began = time.time()
    return finished_at(wait_for(service, post(service, SMALL_STEPS, seed), _LOOK_SECONDS)) - began
