import threading
import time
from collections.abc import Callable

import pytest
import redis

from worker.lease_keeper import HUNG_EXIT_CODE, LeaseKeeper


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    gives_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < gives_up, "in vain"
        time.sleep(0.005)


def keeper(beat: Callable[[], None], end: Callable[[int], None] = lambda _: None, stall: float = 60.0) -> LeaseKeeper:
    return LeaseKeeper(beat, beat_seconds=0.01, lease_seconds=0.5, stall_seconds=stall, end_process=end)


def test_it_beats_until_it_is_stopped() -> None:
    beats: list[float] = []
    kept = keeper(lambda: beats.append(time.monotonic()))
    kept.start()
    until(lambda: len(beats) > 3)
    kept.stop()
    stopped_at = time.monotonic()
    assert all(beat <= stopped_at for beat in beats)


@pytest.mark.parametrize("error", [redis.ConnectionError("away"), RuntimeError("a fault")])
def test_a_beat_that_fails_is_not_the_last(error: Exception) -> None:
    beats = []

    def beat() -> None:
        beats.append(1)
        raise error

    kept = keeper(beat)
    kept.start()
    until(lambda: len(beats) > 2)
    kept.stop()


def test_a_beat_that_was_held_up_is_followed_by_the_next_at_once() -> None:
    seconds = 1.0
    moments: list[float] = []

    def beat() -> None:
        moments.append(time.monotonic())
        if len(moments) == 1:
            time.sleep(1.2 * seconds)
            moments.append(time.monotonic())

    kept = LeaseKeeper(beat, beat_seconds=seconds, lease_seconds=10, stall_seconds=60)
    kept.start()
    until(lambda: len(moments) == 3)
    kept.stop()
    _, ended, next_one = moments
    assert next_one - ended < 0.9 * seconds


def test_a_worker_that_hangs_loses_its_leases_and_then_ends() -> None:
    beats: list[float] = []
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    kept = keeper(lambda: beats.append(time.monotonic()), end, stall=1.0)
    began = time.monotonic()
    kept.start()
    assert ended.wait(5)
    assert codes == [HUNG_EXIT_CODE]
    assert beats, "it did not beat while there was hope"
    assert beats[-1] - began < 1.5
    assert time.monotonic() - beats[-1] >= 0.5, "it ended before the leases had lapsed"


def test_a_pulse_keeps_a_slow_worker_alive() -> None:
    beats: list[float] = []
    codes: list[int] = []
    kept = keeper(lambda: beats.append(time.monotonic()), codes.append, stall=1.0)
    kept.start()
    began = time.monotonic()

    def pulsed() -> bool:
        kept.pulse()
        return time.monotonic() - began > 1.8

    until(pulsed)
    kept.stop()
    assert codes == []
    assert beats[-1] - began > 1.2
