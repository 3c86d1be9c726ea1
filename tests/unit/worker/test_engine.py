"""The engine by hand, with samplers that count: which image was advanced how often, and what a failure leaves."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from model.noise import starting_noise
from tests.unit.worker.samplers import (
    SCHEDULE,
    SIZE,
    BrokenSampler,
    CountingSampler,
    PoisonedSampler,
    SmallDeviceSampler,
    make_engine,
    make_scheduler,
)
from worker.engine import Engine, EngineError, Outcome, is_out_of_memory
from worker.scheduler import Scheduler
from worker.trajectory import ImageKey, Trajectory


def images(first_seed: int, count: int, steps: int) -> list[ImageKey]:
    return [ImageKey(seed, steps) for seed in range(first_seed, first_seed + count)]


def tick(engine: Engine, scheduler: Scheduler) -> tuple[Outcome, list[Trajectory]]:
    plan = scheduler.plan()
    assert plan is not None
    outcome = engine.run(plan)
    engine.commit(outcome)
    return outcome, scheduler.commit(plan)


def finished_images(engine: Engine, scheduler: Scheduler) -> dict[ImageKey, np.ndarray]:  # type: ignore[type-arg]
    done = {}
    while scheduler.jobs:
        outcome, finished = tick(engine, scheduler)
        for trajectory, pixels in zip(finished, engine.pixels(outcome, finished), strict=True):
            done[trajectory.key] = pixels
    return done


def expected(key: ImageKey) -> np.ndarray:  # type: ignore[type-arg]
    counted = starting_noise(key.seed, SIZE)
    for _ in range(key.steps):
        counted = counted + np.float32(1)
    return CountingSampler().to_uint8(counted[None])[0]


def test_every_image_is_its_own_though_all_come_and_go() -> None:
    engine = make_engine(CountingSampler())
    scheduler = make_scheduler(engine)
    random = np.random.default_rng(1)
    wanted = []
    done: dict[ImageKey, np.ndarray] = {}  # type: ignore[type-arg]
    for number in range(60):
        keys = images(100 * number, int(random.integers(1, 5)), int(random.integers(1, 30)))
        scheduler.enter(f"job {number}", keys)
        if random.random() < 0.15:
            scheduler.cancel(f"job {number}")
        else:
            wanted += keys
        for _ in range(int(random.integers(0, 4))):
            if scheduler.jobs:
                outcome, finished = tick(engine, scheduler)
                done |= dict(zip([row.key for row in finished], engine.pixels(outcome, finished), strict=True))
    done |= finished_images(engine, scheduler)
    assert sorted(done) == sorted(wanted)
    for key in wanted:
        np.testing.assert_array_equal(done[key], expected(key))


def test_ticks_of_several_steps_give_the_same_images() -> None:
    sampler = CountingSampler()
    engine = make_engine(sampler, (4,), (1, 2, 4, 8))
    scheduler = make_scheduler(engine)
    scheduler.enter("a", images(0, 3, 13))
    done = finished_images(engine, scheduler)
    assert len(sampler.batches) == 3  # 8 + 4 + 1
    for key, pixels in done.items():
        np.testing.assert_array_equal(pixels, expected(key))


def test_a_tick_leaves_no_trace_until_it_is_committed() -> None:
    engine = make_engine(CountingSampler())
    scheduler = make_scheduler(engine)
    scheduler.enter("a", images(0, 3, 4))
    tick(engine, scheduler)
    plan = scheduler.plan()
    assert plan is not None
    for _ in range(3):
        engine.run(plan)
    for key, pixels in finished_images(engine, scheduler).items():
        np.testing.assert_array_equal(pixels, expected(key))


def test_only_the_culprit_fails() -> None:
    engine = make_engine(PoisonedSampler(seed=2))
    scheduler = make_scheduler(engine)
    scheduler.enter("poisoned", images(2, 1, 5))
    scheduler.enter("good", images(10, 4, 5))
    plan = scheduler.plan()
    assert plan is not None
    outcome = engine.run(plan)
    assert [(failure.trajectory.key.seed, str(failure.error)) for failure in outcome.failures] == [(2, "poison")]
    scheduler.cancel("poisoned")
    engine.commit(outcome)
    scheduler.commit(plan)
    done = finished_images(engine, scheduler)
    assert sorted(done) == images(10, 4, 5)
    for key, pixels in done.items():
        np.testing.assert_array_equal(pixels, expected(key))


def test_a_broken_engine_blames_no_image() -> None:
    sampler = BrokenSampler()
    engine = make_engine(sampler)
    scheduler = make_scheduler(engine)
    scheduler.enter("a", images(0, 3, 4))
    tick(engine, scheduler)
    sampler.broken = True
    plan = scheduler.plan()
    assert plan is not None
    with pytest.raises(EngineError, match="fallen off the bus"):
        engine.run(plan)
    sampler.broken = False
    for key, pixels in finished_images(engine, scheduler).items():
        np.testing.assert_array_equal(pixels, expected(key))


def test_an_engine_that_cannot_be_warmed_up_says_so() -> None:
    sampler = BrokenSampler()
    sampler.broken = True
    with pytest.raises(EngineError, match="at 1 images and 1 steps"):
        make_engine(sampler)


def test_out_of_memory_costs_nobody_an_image() -> None:
    sampler = SmallDeviceSampler(most=4)
    engine = make_engine(sampler)
    scheduler = make_scheduler(engine)
    sampler.shrink()
    scheduler.enter("a", images(0, 8, 3))
    plan = scheduler.plan()
    assert plan is not None
    outcome = engine.run(plan)
    assert outcome.out_of_memory
    assert outcome.failures == ()
    engine.commit(outcome)
    scheduler.commit(plan)
    scheduler.limit_slots(4)
    done = finished_images(engine, scheduler)
    assert sorted(done) == images(0, 8, 3)
    for key, pixels in done.items():
        np.testing.assert_array_equal(pixels, expected(key))


def test_memory_errors_are_told_from_others() -> None:
    class ResourceExhaustedError(Exception):
        """Named as TensorFlow's."""

    assert is_out_of_memory(ResourceExhaustedError("OOM"))
    assert is_out_of_memory(RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes"))
    assert not is_out_of_memory(RuntimeError("poison"))


def test_a_batch_is_measured() -> None:
    engine = make_engine(CountingSampler())
    assert all(engine.step_seconds(count) > 0 for count in engine.slot_counts)
    assert engine.step_seconds(3) == 0


def test_long_calls_are_measured_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that takes a tenth of a second for each image, by a clock of its own."""
    now = 0.0

    class SlowSampler(CountingSampler):
        def advance(self, noisy_images: Any, last_images: Any, rates: Any) -> tuple[Any, Any]:
            nonlocal now
            now += 0.1 * len(noisy_images)
            return super().advance(noisy_images, last_images, rates)

    monkeypatch.setattr("worker.engine.time", SimpleNamespace(perf_counter=lambda: now))
    sampler = SlowSampler()
    engine = Engine(sampler, SCHEDULE, SIZE, (1, 2, 4, 8))
    assert engine.warm_up() == pytest.approx({1: 0.1, 2: 0.2, 4: 0.4, 8: 0.8})
    once_compiled_then_measured = {1: 1 + 3, 2: 1 + 2, 4: 1 + 1, 8: 1 + 1}
    assert {count: sampler.batches.count(count) for count in engine.slot_counts} == once_compiled_then_measured


def test_parked_images_are_let_go_when_nobody_wants_them() -> None:
    engine = make_engine(CountingSampler())
    scheduler = make_scheduler(engine, seconds=lambda slots: 0.01 * slots)
    scheduler.enter("big", images(0, 8, 100))
    tick(engine, scheduler)
    scheduler.enter("small", images(50, 1, 3))
    tick(engine, scheduler)
    assert len(engine._array._parked) == 7
    scheduler.cancel("big")
    while scheduler.jobs:
        tick(engine, scheduler)
    assert engine._array._parked == {}
