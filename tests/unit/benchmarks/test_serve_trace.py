"""Arrivals: reproducible, Poisson, and of the work that was asked for."""

import itertools
import math
import random
import statistics

import pytest

from benchmarks.serve_trace import SHORT_STEPS, Mix, draw_trace, work_of


def test_the_same_seed_gives_the_same_trace() -> None:
    traces = [draw_trace(Mix(), 50, seed, image_steps_per_second=100.0) for seed in (1, 1, 2)]
    assert traces[0] == traces[1] != traces[2]


def test_a_seed_means_the_same_in_years_to_come() -> None:
    asked = [(arrival.steps, arrival.count) for arrival in draw_trace(Mix(), 4, 1, image_steps_per_second=1.0)]
    assert asked == [(8, 1), (12, 1), (55, 1), (5, 1)]


def test_a_trace_brings_exactly_the_work_that_was_asked_for() -> None:
    trace = draw_trace(Mix(), 20_000, 1, image_steps_per_second=100.0)
    assert work_of(trace) / trace[-1].at == pytest.approx(100.0, rel=0.02)


def test_arrivals_are_a_poisson_process() -> None:
    trace = draw_trace(Mix(10, 10, 0.0), 20_000, 1, image_steps_per_second=10.0)
    gaps = [after.at - before.at for before, after in itertools.pairwise(trace)]
    assert statistics.fmean(gaps) == pytest.approx(1.0, rel=0.03)
    assert statistics.pstdev(gaps) == pytest.approx(1.0, rel=0.03)
    assert sum(gap > 2.0 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-2), rel=0.05)


def test_the_rate_changes_the_times_alone() -> None:
    slow, fast = (draw_trace(Mix(), 50, 1, image_steps_per_second=rate) for rate in (10.0, 100.0))
    assert [(a.steps, a.seed, a.count) for a in slow] == [(a.steps, a.seed, a.count) for a in fast]
    assert [a.at for a in slow] == pytest.approx([10 * a.at for a in fast])


def test_an_infinite_rate_brings_all_at_once() -> None:
    assert {arrival.at for arrival in draw_trace(Mix(), 9, 1, image_steps_per_second=math.inf)} == {0.0}


def test_step_counts_are_log_uniform_within_their_range() -> None:
    mix = Mix()
    generator = random.Random(1)
    drawn = [mix.draw(generator) for _ in range(20_000)]
    steps = [steps for steps, _ in drawn]
    assert (min(steps), max(steps)) == (5, 200)
    short = sum(count <= SHORT_STEPS for count in steps) / len(steps)
    assert short == pytest.approx(math.log(21 / 5) / math.log(201 / 5), rel=0.05)
    assert statistics.fmean(steps * count for steps, count in drawn) == pytest.approx(mix.mean_image_steps, rel=0.05)


def test_no_two_jobs_share_an_image() -> None:
    trace = draw_trace(Mix(many_share=1.0, most_images=64), 100, 1, image_steps_per_second=1.0, first_seed=7)
    seeds = [seed for arrival in trace for seed in range(arrival.seed, arrival.seed + arrival.count)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) == 7


@pytest.mark.parametrize(
    "fields", [{"fewest_steps": 0}, {"fewest_steps": 9, "most_steps": 8}, {"many_share": 1.5}, {"most_images": 65}]
)
def test_a_mix_that_cannot_be_asked_for_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields)).split("_")[1]):
        Mix(**fields)  # type: ignore[arg-type]
