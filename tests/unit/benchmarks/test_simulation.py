"""The simulation: what must hold for any arrivals, and what queueing theory has a formula for."""

import itertools
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serve_figures import JobTimes
from benchmarks.serve_policies import ARMS, BATCHES, CONTINUOUS, ONE, scheduler_maker
from benchmarks.serve_trace import SEEDS_APART, Arrival, Mix, draw_trace, work_of
from benchmarks.simulation import SimulatedRun, Simulation
from benchmarks.simulation_hardware import Hardware

MACHINE = Hardware("small", {1: 1.0, 2: 1.5, 4: 2.5}, step_counts=(1, 2, 4))
GPU = Hardware("gpu", {64: 0.0004}, step_counts=(1, 2, 4, 8, 16), tick_overhead=0.0005)
ONE_SLOT = Hardware("one slot", {1: 1.0})


def simulate(arm: str, trace: Sequence[Arrival], hardware: Hardware, **options: int) -> SimulatedRun:
    return Simulation(trace, scheduler_maker(arm), hardware, **options).run()


@st.composite
def traces(draw: st.DrawFn) -> list[Arrival]:
    asked = draw(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=12))
    moment, trace = 0.0, []
    for number, (gap, steps, count) in enumerate(asked):
        moment += gap
        trace.append(Arrival(moment, steps, number * SEEDS_APART, count))
    return trace


@given(traces(), st.sampled_from(sorted(ARMS)), st.integers(1, 3), st.integers(1, 4))
def test_whatever_arrives_is_done_once_and_in_due_time(
    trace: list[Arrival], arm: str, workers: int, jobs_held: int
) -> None:
    run = simulate(arm, trace, MACHINE, workers=workers, jobs_held=jobs_held)
    assert sum(tick.image_steps for tick in run.ticks) == work_of(trace)
    for arrival, job in zip(trace, run.jobs, strict=True):
        assert job.arrived == arrival.at <= job.admitted
        assert job.finished >= job.admitted + arrival.steps * min(MACHINE.step_seconds.values()) - 1e-9


@given(traces(), st.sampled_from(sorted(ARMS)), st.integers(1, 3))
def test_a_worker_has_one_tick_at_a_time(trace: list[Arrival], arm: str, workers: int) -> None:
    run = simulate(arm, trace, MACHINE, workers=workers)
    for worker in range(workers):
        free = 0.0
        for tick in (tick for tick in run.ticks if tick.worker == worker):
            assert tick.began >= free - 1e-9
            assert 1 <= tick.taken <= tick.slots
            assert tick.seconds == MACHINE.seconds(tick.slots) * tick.steps
            free = tick.began + tick.seconds


@given(traces(), st.sampled_from(sorted(ARMS)))
def test_a_worker_rests_only_when_there_is_nothing_to_do(trace: list[Arrival], arm: str) -> None:
    run = simulate(arm, trace, MACHINE)
    free = 0.0
    for tick in run.ticks:
        if tick.began > free + 1e-9:
            assert all(job.arrived >= tick.began - 1e-9 or job.finished <= free + 1e-9 for job in run.jobs)
        free = tick.began + tick.seconds


@given(traces())
def test_jobs_one_at_a_time_do_not_overlap(trace: list[Arrival]) -> None:
    jobs = simulate(ONE, trace, MACHINE).jobs
    assert all(after.admitted >= before.finished - 1e-9 for before, after in itertools.pairwise(jobs))


@given(traces())
def test_nobody_joins_a_batch(trace: list[Arrival]) -> None:
    jobs = simulate(BATCHES, trace, MACHINE).jobs
    admissions = sorted({job.admitted for job in jobs})
    for job in jobs:
        # A job of more images than there are slots is a batch by itself: its own later images do not count here.
        assert not [moment for moment in admissions if job.admitted + 1e-9 < moment < job.finished - 1e-9]


@given(traces(), st.sampled_from(sorted(ARMS)), st.integers(1, 3))
def test_the_same_again_is_the_same(trace: list[Arrival], arm: str, workers: int) -> None:
    assert simulate(arm, trace, MACHINE, workers=workers) == simulate(arm, trace, MACHINE, workers=workers)


def wait(jobs: Sequence[JobTimes]) -> float:
    return statistics.fmean(job.admission for job in jobs[len(jobs) // 20 :])


@pytest.mark.parametrize("arm", sorted(ARMS))
@pytest.mark.parametrize(("load", "tolerance"), [(0.3, 0.04), (0.6, 0.05), (0.8, 0.1)])
def test_with_one_slot_and_equal_jobs_the_wait_is_that_of_an_m_d_1_queue(
    arm: str, load: float, tolerance: float
) -> None:
    # Pollaczek-Khinchine for a service time of 1 that never varies: load / (2 (1 - load)).
    trace = draw_trace(Mix(1, 1, 0.0), 20_000, 1, image_steps_per_second=load)
    assert wait(simulate(arm, trace, ONE_SLOT).jobs) == pytest.approx(load / (2 * (1 - load)), rel=tolerance)


def test_a_job_of_several_steps_waits_like_one_of_a_single_long_one() -> None:
    quick = Hardware("four steps a second", {1: 0.25})
    whole, pieces = (
        simulate(CONTINUOUS, draw_trace(Mix(steps, steps, 0.0), 3000, 1, image_steps_per_second=rate), hardware).jobs
        for steps, rate, hardware in ((1, 0.7, ONE_SLOT), (4, 2.8, quick))
    )
    # But that a step which runs is not broken off, four steps are served in one go, oldest first.
    assert wait(pieces) == pytest.approx(wait(whole), rel=1e-6)


@pytest.mark.parametrize("arm", sorted(ARMS))
def test_more_load_is_more_waiting_and_more_workers_are_less(arm: str) -> None:
    def latency(load: float, workers: int) -> float:
        rate = load * MACHINE.image_steps_per_second
        trace = draw_trace(Mix(2, 20), 400, 1, image_steps_per_second=rate)
        jobs = simulate(arm, trace, MACHINE, workers=workers).jobs
        return statistics.fmean(job.latency for job in jobs)

    by_load = [latency(load, 1) for load in (0.2, 0.4, 0.6, 0.8)]
    assert by_load == sorted(by_load)
    by_workers = [latency(0.9, workers) for workers in (3, 2, 1)]
    assert by_workers == sorted(by_workers)


@pytest.mark.parametrize("arm", [BATCHES, CONTINUOUS])
def test_equal_jobs_that_wait_fill_every_slot(arm: str) -> None:
    trace = [Arrival(0.0, 10, number, 1) for number in range(40)]
    run = simulate(arm, trace, MACHINE)
    filled = [tick for tick in run.ticks if tick.slots == 4]
    # The first one finds nobody to share its first tick with.
    assert sum(tick.image_steps for tick in filled) >= work_of(trace) - 10
    assert run.end == pytest.approx(40 * 10 / 4 * MACHINE.seconds(4), rel=0.05)


def test_work_is_spread_over_the_workers() -> None:
    trace = draw_trace(Mix(), 300, 1, image_steps_per_second=3 * MACHINE.image_steps_per_second)
    run = simulate(CONTINUOUS, trace, MACHINE, workers=4)
    done = [sum(tick.image_steps for tick in run.ticks if tick.worker == worker) for worker in range(4)]
    assert max(done) < 1.5 * min(done)


def test_short_jobs_do_not_wait_for_long_ones_with_continuous_batching() -> None:
    trace = draw_trace(Mix(), 400, 1, image_steps_per_second=0.7 * MACHINE.image_steps_per_second)

    def slowest(arm: str) -> float:
        return max(job.latency for job in simulate(arm, trace, MACHINE).jobs if job.is_short)

    assert slowest(CONTINUOUS) < slowest(BATCHES) / 3


def test_ticks_of_many_steps_on_a_gpu_keep_a_newcomer_waiting_no_longer_than_one() -> None:
    trace = draw_trace(Mix(), 500, 1, image_steps_per_second=0.3 * GPU.image_steps_per_second)
    run = simulate(CONTINUOUS, trace, GPU)
    assert max(tick.steps for tick in run.ticks) > 1
    assert max(job.admission for job in run.jobs) <= GPU.tick_seconds(64, 16) + 1e-9


def test_a_delay_beside_the_ticks_is_added_to_every_job() -> None:
    trace = draw_trace(Mix(), 50, 1, image_steps_per_second=1.0)
    late = Hardware("late", MACHINE.step_seconds, MACHINE.step_counts, job_delay=3.0)
    without, with_delay = (simulate(CONTINUOUS, trace, hardware).jobs for hardware in (MACHINE, late))
    assert [job.finished for job in with_delay] == pytest.approx([job.finished + 3.0 for job in without])
