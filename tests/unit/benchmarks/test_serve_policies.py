"""The gates before the scheduler: who is let in, and when."""

import pytest

from benchmarks.serve_policies import (
    ARMS,
    BATCHES,
    CONTINUOUS,
    ONE,
    GatedScheduler,
    first_job,
    fullest_batch,
    scheduler_maker,
)
from worker.scheduler import Scheduler
from worker.trajectory import ImageKey

SLOT_COUNTS = (1, 2, 4)


def make(arm: str) -> Scheduler:
    return scheduler_maker(arm)(SLOT_COUNTS, step_seconds=float)


def enter(scheduler: Scheduler, job_id: str, steps: int, count: int = 1) -> None:
    seed = 100 * int(job_id)
    scheduler.enter(job_id, [ImageKey(seed + image, steps) for image in range(count)])


def running(scheduler: Scheduler) -> list[str]:
    """Takes a tick; returns the jobs in it, an entry for each image."""
    tick = scheduler.plan()
    assert tick is not None
    jobs = sorted(job_id for trajectory in tick.trajectories for job_id in trajectory.jobs)
    scheduler.commit(tick)
    return jobs


def test_the_product_has_no_gate() -> None:
    assert type(make(CONTINUOUS)) is Scheduler


@pytest.mark.parametrize(
    ("waiting", "batch"),
    [
        ({"1": 1, "2": 1}, ["1", "2"]),
        ({"1": 3, "2": 2, "3": 1, "4": 1}, ["1", "3"]),
        ({"1": 9, "2": 1}, ["1"]),
        ({"1": 4, "2": 1}, ["1"]),
        ({}, []),
    ],
)
def test_a_batch_takes_the_oldest_and_who_fits_beside_it(waiting: dict[str, int], batch: list[str]) -> None:
    assert fullest_batch(waiting, 4) == batch
    assert first_job(waiting, 4) == batch[:1]


def test_one_job_at_a_time_whatever_waits() -> None:
    scheduler = make(ONE)
    enter(scheduler, "1", steps=2, count=2)
    enter(scheduler, "2", steps=1)
    assert [running(scheduler) for _ in range(3)] == [["1", "1"], ["1", "1"], ["2"]]
    assert scheduler.plan() is None


def test_nobody_joins_a_batch_that_runs() -> None:
    scheduler = make(BATCHES)
    enter(scheduler, "1", steps=3)
    assert running(scheduler) == ["1"]
    enter(scheduler, "2", steps=1)
    enter(scheduler, "3", steps=2)
    assert [running(scheduler) for _ in range(4)] == [["1"], ["1"], ["2", "3"], ["3"]]


def test_a_batch_shrinks_to_what_is_left_of_it() -> None:
    scheduler = make(BATCHES)
    for number, steps in enumerate((1, 2, 2), start=1):
        enter(scheduler, str(number), steps)
    sizes = []
    while (tick := scheduler.plan()) is not None:
        sizes.append(len(tick.rows))
        scheduler.commit(tick)
    assert sizes == [4, 2]


def test_a_job_of_more_images_than_slots_has_them_all() -> None:
    scheduler = make(BATCHES)
    enter(scheduler, "1", steps=1, count=6)
    enter(scheduler, "2", steps=1)
    assert [running(scheduler) for _ in range(3)] == [["1"] * 4, ["1"] * 2, ["2"]]


@pytest.mark.parametrize("arm", ARMS)
def test_work_before_the_gate_counts_as_well(arm: str) -> None:
    scheduler = make(arm)
    enter(scheduler, "1", steps=3, count=2)
    enter(scheduler, "2", steps=5)
    assert scheduler.remaining_image_steps == 11
    running(scheduler)
    assert set(scheduler.jobs) == {"1", "2"}
    assert scheduler.remaining_of("1") + scheduler.remaining_of("2") == scheduler.remaining_image_steps < 11


@pytest.mark.parametrize("arm", ARMS)
def test_a_job_that_is_canceled_never_runs(arm: str) -> None:
    scheduler = make(arm)
    for job_id in ("1", "2", "3"):
        enter(scheduler, job_id, steps=1, count=4)
    scheduler.cancel("2")
    ran = []
    while (tick := scheduler.plan()) is not None:
        ran += [job_id for trajectory in tick.trajectories for job_id in trajectory.jobs]
        scheduler.commit(tick)
    assert set(ran) == {"1", "3"}
    assert len(ran) == 8


def test_an_arm_that_there_is_not_is_refused() -> None:
    with pytest.raises(KeyError):
        scheduler_maker("sideways")


def test_a_gate_is_asked_only_when_nothing_runs() -> None:
    asked: list[int] = []

    def gate(waiting: object, slots: int) -> list[str]:
        asked.append(slots)
        return first_job(waiting, slots)  # type: ignore[arg-type]

    scheduler = GatedScheduler(SLOT_COUNTS, step_seconds=float, gate=gate)
    enter(scheduler, "1", steps=3)
    for _ in range(3):
        running(scheduler)
    assert asked == [4]
