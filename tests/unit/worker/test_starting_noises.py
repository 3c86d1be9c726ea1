"""Noise drawn in time is the noise that would have been drawn; and what nobody takes does not stay for ever."""

import numpy as np
import pytest

from model.noise import noise_between, starting_noise
from tests.unit.worker.samplers import SIZE, CountingSampler, make_engine, make_scheduler
from worker import starting_noises
from worker.protocol import ImageKey
from worker.starting_noises import StartingNoises

KEYS = [ImageKey(seed, 5) for seed in range(4)]


def count(monkeypatch: pytest.MonkeyPatch) -> list[ImageKey]:
    """From now on: what is drawn."""
    drawn: list[ImageKey] = []
    original = starting_noises.draw

    def draw(key: ImageKey, image_size: int) -> starting_noises.Noise:
        drawn.append(key)
        return original(key, image_size)

    monkeypatch.setattr(starting_noises, "draw", draw)
    return drawn


@pytest.mark.parametrize("prepared", [True, False])
def test_noise_is_the_same_whenever_it_is_drawn(prepared: bool) -> None:
    noises = StartingNoises(SIZE, 4)
    between = ImageKey(3, 5, toward=9, part=1, parts=4)
    for key in (KEYS[3], between):
        if prepared:
            noises.prepare(key)
            assert len(noises) == 1
        expected = noise_between(3, 9, 1, 4, SIZE) if key.part else starting_noise(3, SIZE)
        np.testing.assert_array_equal(noises.take(key), expected)
        assert len(noises) == 0


def test_what_is_there_is_not_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = count(monkeypatch)
    noises = StartingNoises(SIZE, 4)
    for _ in range(2):
        noises.prepare(KEYS[0])
    noises.take(KEYS[0])
    assert drawn == [KEYS[0]]


def test_what_finds_no_place_waits_and_what_nobody_takes_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 100.0
    monkeypatch.setattr("worker.starting_noises.time.monotonic", lambda: moment)
    noises = StartingNoises(SIZE, 2)
    for key in KEYS[:3]:
        noises.prepare(key)
    assert len(noises) == 2
    moment += 61
    noises.prepare(KEYS[3])
    assert len(noises) == 2
    drawn = count(monkeypatch)
    for key in KEYS:
        noises.take(key)
    assert drawn == [KEYS[0], KEYS[2]]


def test_a_tick_takes_what_has_been_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(CountingSampler())
    scheduler = make_scheduler(engine)
    for key in KEYS:
        engine.prepare(key)
    monkeypatch.setattr(starting_noises, "draw", lambda *_: pytest.fail("it has been drawn"))
    scheduler.enter("job", KEYS)
    tick = scheduler.plan()
    assert tick is not None
    outcome = engine.run(tick)
    assert not outcome.failures
    expected = np.stack([starting_noise(key.seed, SIZE) for key in KEYS]) + 1
    np.testing.assert_allclose(np.asarray(outcome.canvas.noisy)[:4], expected, rtol=1e-6)
