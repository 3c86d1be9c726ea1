"""What a run is judged by, whether it was measured or simulated: ticks, the times of jobs, and figures of both."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

from benchmarks.serve_trace import Arrival

_ENOUGH_TICKS = 10


@dataclasses.dataclass(frozen=True, slots=True)
class TickRecord:
    """A tick: `taken` of `slots` rows advanced by `steps` steps in `seconds` from `began` on; by which worker."""

    began: float
    seconds: float
    slots: int
    taken: int
    steps: int
    worker: int = 0

    @property
    def image_steps(self) -> int:
        return self.taken * self.steps


@dataclasses.dataclass(frozen=True, slots=True)
class JobTimes:
    """When a job came, got its first slot, and was done: seconds on one clock. What is unknown is NaN."""

    arrived: float
    admitted: float
    finished: float
    is_short: bool
    images: int

    @property
    def latency(self) -> float:
        return self.finished - self.arrived

    @property
    def admission(self) -> float:
        return self.admitted - self.arrived


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """A run in figures; times in seconds, rates a second."""

    jobs: int
    short_jobs: int
    images_per_second: float
    image_steps_per_second: float
    p50: float
    p99: float
    short_p50: float
    short_p99: float
    admission_p50: float
    admission_p99: float
    fill: float
    """Rows that advance in a step, on average over all steps."""


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank); NaN of none.

    With fewer than a hundred values the 99th percentile is the largest.
    """
    ordered = sorted(value for value in values if not math.isnan(value))
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def mean_fill(ticks: Iterable[TickRecord]) -> float:
    """Rows that advance in a step, on average over all steps; NaN if there is none."""
    image_steps = steps = 0
    for tick in ticks:
        image_steps += tick.image_steps
        steps += tick.steps
    return image_steps / steps if steps else math.nan


def mean_step_seconds(ticks: Iterable[TickRecord]) -> dict[int, float]:
    """Slot count -> seconds a step, on average; without those that were seldom used."""
    found: dict[int, list[TickRecord]] = {}
    for tick in ticks:
        found.setdefault(tick.slots, []).append(tick)
    return {
        slots: sum(tick.seconds for tick in same) / sum(tick.steps for tick in same)
        for slots, same in sorted(found.items())
        if len(same) >= _ENOUGH_TICKS
    }


def tick_overhead(ticks: Sequence[TickRecord], longest: float = 0.1) -> float:
    """Seconds from a tick's end to the next one's begin, on average; pauses longer than `longest` are somebody else's.

    The ticks are those of one worker, in their order.
    """
    gaps = (after.began - tick.began - tick.seconds for tick, after in itertools.pairwise(ticks))
    usual = [max(0.0, gap) for gap in gaps if gap < longest]
    return statistics.fmean(usual) if usual else 0.0


def figures(jobs: Sequence[JobTimes], ticks: Sequence[TickRecord], seconds: float) -> Figures:
    """The figures of jobs and ticks; rates are over so many seconds."""
    short = [job for job in jobs if job.is_short]
    return Figures(
        jobs=len(jobs),
        short_jobs=len(short),
        images_per_second=sum(job.images for job in jobs) / seconds,
        image_steps_per_second=sum(tick.image_steps for tick in ticks) / seconds,
        p50=quantile((job.latency for job in jobs), 0.5),
        p99=quantile((job.latency for job in jobs), 0.99),
        short_p50=quantile((job.latency for job in short), 0.5),
        short_p99=quantile((job.latency for job in short), 0.99),
        admission_p50=quantile((job.admission for job in jobs), 0.5),
        admission_p99=quantile((job.admission for job in jobs), 0.99),
        fill=mean_fill(ticks),
    )


def times_of(arrival: Arrival, start: float, admitted: float, finished: float) -> JobTimes:
    """The times of one job of a trace that started at `start`: its own waiting to be sent counts too."""
    return JobTimes(start + arrival.at, admitted, finished, arrival.is_short, arrival.count)
