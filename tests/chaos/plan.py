"""What a chaos run does, drawn from a seed: the requests of the client, and the faults."""

from __future__ import annotations

import dataclasses
import enum
import math
import random
from collections.abc import Iterator
from typing import Final

from tests.chaos.breakable_worker import POINTS
from worker.protocol import SAMPLERS, GenerationRequest


class FaultKind(enum.Enum):
    """What can befall the service. The values are for the table at the end."""

    KILL = "SIGKILL of a worker, at any moment"
    KILL_AT = "SIGKILL of a worker, at a chosen point"
    TERM = "SIGTERM of a worker"
    TERM_TWICE = "SIGTERM of a worker, and again"
    FREEZE = "SIGSTOP of a worker beyond its lease, SIGCONT"
    QUEUE_KILL = "SIGKILL of the Valkey, restart"
    QUEUE_AWAY = "Valkey unreachable"
    STORE_AWAY = "store not writable"


PER_THOUSAND_JOBS: Final = {
    FaultKind.KILL: 16,
    FaultKind.KILL_AT: 2 * len(POINTS),
    FaultKind.TERM: 17,
    FaultKind.TERM_TWICE: 4,
    FaultKind.FREEZE: 4,
    FaultKind.QUEUE_KILL: 4,
    FaultKind.QUEUE_AWAY: 2,
    FaultKind.STORE_AWAY: 3,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One fault of the schedule.

    `at` is the share of the run, 0 to 1, that is done when it strikes; `whom` in [0, 1) chooses the worker; `length` in
    [0, 1) how long it lasts, between what makes sense for its kind; `point` is where a KILL_AT strikes.
    """

    kind: FaultKind
    at: float
    whom: float
    length: float
    point: str = ""


def plan_faults(seed: int, thousands: float) -> list[Fault]:
    """The faults of a run of so many thousand jobs, in order, spread evenly but for chance; each kind at least once."""
    dice = random.Random(f"faults of {seed}")
    kinds = [kind for kind, often in PER_THOUSAND_JOBS.items() for _ in range(max(1, round(often * thousands)))]
    dice.shuffle(kinds)
    points = _endless(dice, list(POINTS))
    faults = []
    for number, kind in enumerate(kinds):
        at = 0.95 * (number + dice.random()) / len(kinds)
        point = next(points) if kind is FaultKind.KILL_AT else ""
        faults.append(Fault(kind, at, dice.random(), dice.random(), point))
    return faults


def _endless(dice: random.Random, points: list[str]) -> Iterator[str]:
    """All points in a random order, and again."""
    while True:
        dice.shuffle(points)
        yield from points


def requests(seed: int) -> Iterator[GenerationRequest]:
    """What the client asks for, without end: 1 to 200 steps, few more often; 1 to 8 images; some things twice."""
    dice = random.Random(f"requests of {seed}")
    recent: list[GenerationRequest] = []
    for number in range(1_000_000_000):
        if recent and dice.random() < 0.15:
            earlier = dice.choice(recent)
            if dice.random() < 0.5:
                request = earlier
            else:  # some of the same images
                request = GenerationRequest(
                    earlier.steps, earlier.seed + earlier.count // 2, dice.randint(1, 8), earlier.sampler
                )
        else:
            steps = round(math.exp(dice.uniform(0.0, math.log(200))))
            count = dice.choice((1, 1, 1, 2, 2, 3, 4, 8))
            request = GenerationRequest(steps, 16 * number, count, dice.choice(SAMPLERS))
        recent = [*recent[-30:], request]
        yield request
