"""Figures out of ticks and times, by hand."""

import math

import pytest

from benchmarks.serve_figures import (
    JobTimes,
    TickRecord,
    figures,
    mean_fill,
    mean_step_seconds,
    quantile,
    tick_overhead,
    times_of,
)
from benchmarks.serve_trace import Arrival


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0, 1.0, 2.0], 0.5, 2.0), ([3.0, 1.0, 2.0], 0.99, 3.0), ([1.0], 0.01, 1.0), (range(1, 1001), 0.99, 990)],
)
def test_quantiles_are_values_that_occurred(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == expected


def test_what_is_unknown_is_left_out_of_quantiles() -> None:
    assert quantile([math.nan, 2.0, 1.0], 0.99) == 2.0
    assert math.isnan(quantile([math.nan], 0.5))


def test_fill_is_the_average_over_steps_and_not_over_ticks() -> None:
    assert mean_fill([TickRecord(0, 1, 8, 8, 9), TickRecord(1, 1, 2, 2, 1)]) == pytest.approx(7.4)
    assert math.isnan(mean_fill([]))


def test_figures() -> None:
    jobs = [JobTimes(0.0, 0.5, 2.0, True, 1), JobTimes(1.0, 4.0, 9.0, False, 3)]
    ticks = [TickRecord(0.0, 0.1, 4, 3, 2), TickRecord(0.2, 0.1, 1, 1, 4)]
    found = figures(jobs, ticks, 10.0)
    assert (found.jobs, found.short_jobs) == (2, 1)
    assert (found.images_per_second, found.image_steps_per_second) == (0.4, 1.0)
    assert (found.p50, found.p99, found.short_p50, found.short_p99) == (2.0, 8.0, 2.0, 2.0)
    assert (found.admission_p50, found.admission_p99) == (0.5, 3.0)
    assert found.fill == pytest.approx(10 / 6)


def test_a_job_that_is_sent_late_has_waited_since_it_came() -> None:
    job = times_of(Arrival(2.0, 20, 0, 3), start=100.0, admitted=103.0, finished=105.0)
    assert (job.admission, job.latency, job.is_short, job.images) == (1.0, 3.0, True, 3)


def test_the_time_of_a_step_is_averaged_over_steps() -> None:
    ticks = [TickRecord(0.0, 0.5, 4, 1, 1)] * 6 + [TickRecord(0.0, 1.0, 4, 1, 4)] * 6 + [TickRecord(0.0, 9.0, 8, 8, 1)]
    assert mean_step_seconds(ticks) == {4: pytest.approx(9.0 / 30)}


def test_pauses_between_ticks_are_averaged_unless_there_was_nothing_to_do() -> None:
    ticks = [TickRecord(began, 1.0, 1, 1, 1) for began in (0.0, 1.01, 2.04, 9.0)]
    assert tick_overhead(ticks) == pytest.approx(0.02)
    assert tick_overhead(ticks[:1]) == 0.0
