"""The record of ticks: what the engine does stands in it."""

import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from benchmarks.serve_instant import InstantSampler, PacedSampler
from benchmarks.serve_record import RecordingEngine, TickLog
from model.noise import starting_noise
from model.schedule import Schedule
from worker.scheduler import Scheduler
from worker.trajectory import ImageKey

SIZE = 4


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RecordingEngine]:
    engine = RecordingEngine(tmp_path / "ticks", InstantSampler(), Schedule(), SIZE, (1, 2, 4))
    engine.warm_up()
    yield engine
    engine.close()


def test_every_tick_is_written_down_with_those_who_begin(engine: RecordingEngine, tmp_path: Path) -> None:
    log = TickLog(tmp_path / "ticks")
    assert log.read() == ([], {})
    scheduler = Scheduler(engine.slot_counts, step_seconds=lambda slot_count: 0.001)
    scheduler.enter("large", [ImageKey(seed, 2) for seed in range(3)])
    before = time.time()

    def advance() -> None:
        tick = scheduler.plan()
        assert tick is not None
        engine.commit(engine.run(tick))
        scheduler.commit(tick)

    advance()
    scheduler.enter("small", [ImageKey(9, 1)])
    advance()
    ticks, admitted = log.read()
    assert [(tick.slots, tick.taken, tick.steps) for tick in ticks] == [(4, 3, 1), (4, 4, 1)]
    assert all(before - 1e-3 <= tick.began <= time.time() and tick.seconds > 0 for tick in ticks)
    assert admitted == {"large": ticks[0].began, "small": ticks[1].began}
    assert log.read() == ([], {})


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = tmp_path / "ticks"
    path.write_text("5.000000 0.100000 2 1 1 \n6.000000 0.10")
    log = TickLog(path)
    assert [tick.began for tick in log.read()[0]] == [5.0]
    with path.open("a") as file:
        file.write("0000 2 1 1 job\n")
    ticks, admitted = log.read()
    assert [tick.began for tick in ticks] == [6.0]
    assert admitted == {"job": 6.0}


def test_the_network_that_costs_nothing_leaves_the_noise() -> None:
    noise = starting_noise(1, SIZE)[None]
    noisy_images, pred_images = InstantSampler().advance(noise, noise, np.zeros((1, 1, 5), np.float32))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(noisy_images), noise)
    pixels = InstantSampler().to_uint8(pred_images)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (1, SIZE, SIZE, 3)
    assert len(np.unique(pixels)) > SIZE


def test_the_network_that_sleeps_takes_as_long_as_it_is_told() -> None:
    noise = np.zeros((2, SIZE, SIZE, 3), np.float32)
    began = time.perf_counter()
    PacedSampler({1: 0.0, 2: 0.01}).advance(noise, noise, np.zeros((3, 2, 5), np.float32))
    assert time.perf_counter() - began >= 0.03
