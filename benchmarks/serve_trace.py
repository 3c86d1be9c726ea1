"""Who asks for what, and when: a mix of requests, arriving as a Poisson process. The same seed, the same trace.

Standard library only, and Python's own generator, whose numbers do not change with versions: a simulation and a
measured run of different years can be given the same arrivals.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

SHORT_STEPS = 20
"""A job of that many steps or fewer counts as short."""
SEEDS_APART = 64
"""Image seeds between one job and the next: no two jobs of a trace share an image."""


@dataclasses.dataclass(frozen=True, slots=True)
class Arrival:
    """A request, and when it comes: `at` seconds after the trace's start."""

    at: float
    steps: int
    seed: int
    count: int

    @property
    def image_steps(self) -> int:
        return self.steps * self.count

    @property
    def is_short(self) -> bool:
        return self.steps <= SHORT_STEPS


@dataclasses.dataclass(frozen=True, slots=True)
class Mix:
    """What is asked for: step counts log-uniform from `fewest_steps` to `most_steps`, both included.

    So each octave of step counts is asked for equally often. Most jobs are of one image; a share of `many_share` has
    2 to `most_images`, uniform.
    """

    fewest_steps: int = 5
    most_steps: int = 200
    many_share: float = 0.1
    most_images: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.fewest_steps <= self.most_steps <= 1000:
            raise ValueError(f"steps: not a range within 1 to 1000: {self.fewest_steps} to {self.most_steps}")
        if not 0 <= self.many_share <= 1 or not 2 <= self.most_images <= SEEDS_APART:
            raise ValueError(f"many_share, most_images: not in 0 to 1, 2 to {SEEDS_APART}: {self}")

    @property
    def mean_image_steps(self) -> float:
        """The expected work of a job."""
        span = math.log((self.most_steps + 1) / self.fewest_steps)
        shares = ((steps, math.log((steps + 1) / steps) / span) for steps in range(self.fewest_steps, self.steps_end))
        steps = sum(steps * share for steps, share in shares)
        return steps * (1 + self.many_share * ((2 + self.most_images) / 2 - 1))

    @property
    def steps_end(self) -> int:
        """One more than the most steps."""
        return self.most_steps + 1

    def draw(self, generator: random.Random) -> tuple[int, int]:
        """The steps and the images of one job."""
        low, high = math.log(self.fewest_steps), math.log(self.steps_end)
        steps = min(self.most_steps, max(self.fewest_steps, int(math.exp(generator.uniform(low, high)))))
        count = generator.randint(2, self.most_images) if generator.random() < self.many_share else 1
        return steps, count


def draw_trace(mix: Mix, jobs: int, seed: int, *, image_steps_per_second: float, first_seed: int = 0) -> list[Arrival]:
    """Jobs of a mix, arriving at random and independently of one another.

    The rate of arrivals is that at which these very jobs, rather than their expectation, bring the work asked for: a
    short trace with some large jobs too many is no heavier than another.

    Args:
        mix: what they ask for.
        jobs: how many there are.
        seed: of the trace; jobs and the order of their coming do not depend on the rate.
        image_steps_per_second: the work that arrives, on average; infinity brings all at once.
        first_seed: the image seed of the first job.
    """
    generator = random.Random(seed)
    asked = [(*mix.draw(generator), generator.expovariate(1.0)) for _ in range(jobs)]
    mean = sum(steps * count for steps, count, _ in asked) / jobs / image_steps_per_second
    trace, moment = [], 0.0
    for number, (steps, count, gap) in enumerate(asked):
        moment += gap * mean
        trace.append(Arrival(moment, steps, first_seed + number * SEEDS_APART, count))
    return trace


def work_of(trace: Sequence[Arrival]) -> int:
    """The image-steps of a trace."""
    return sum(arrival.image_steps for arrival in trace)
