"""After trouble with the queue: a pause before it is asked again, and more time for everybody to renew leases."""

import logging

import pytest
import redis

from worker.queue_trouble import PAUSE_SECONDS, QueueTrouble

BEAT = 3.0


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("worker.queue_trouble.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def fail(error: Exception) -> None:
    raise error


def test_without_trouble_there_is_no_pause(clock: Clock) -> None:
    trouble = QueueTrouble(BEAT)
    with trouble.noted():
        pass
    assert not trouble.is_recent
    assert trouble.trusts_leases


def test_what_redis_raises_is_noted_and_other_errors_go_on(clock: Clock) -> None:
    trouble = QueueTrouble(BEAT)
    with pytest.raises(KeyError), trouble.noted():
        fail(KeyError())
    assert not trouble.is_recent
    with trouble.noted():
        fail(redis.ConnectionError("gone"))
    assert trouble.is_recent
    assert not trouble.trusts_leases
    clock.now += PAUSE_SECONDS
    assert not trouble.is_recent
    assert not trouble.trusts_leases
    clock.now = 100.0 + 2 * BEAT
    assert trouble.trusts_leases


def test_leases_are_trusted_two_beats_after_the_last_trouble(clock: Clock) -> None:
    trouble = QueueTrouble(BEAT)
    for _ in range(4):
        trouble.note(redis.TimeoutError("slow"))
        clock.now += BEAT
    assert not trouble.trusts_leases
    clock.now += BEAT
    assert trouble.trusts_leases


def test_a_pause_can_be_ended(clock: Clock) -> None:
    trouble = QueueTrouble(BEAT)
    trouble.note(redis.TimeoutError("slow"))
    trouble.ask_again()
    assert not trouble.is_recent
    assert not trouble.trusts_leases


def test_trouble_that_goes_on_is_logged_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    trouble = QueueTrouble(BEAT)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            trouble.note(redis.ConnectionError("gone"))
            clock.now += 1
        assert caplog.text.count("trouble with the queue: gone") == 1
        clock.now += 2 * BEAT
        trouble.note(redis.ConnectionError("gone again"))
    assert caplog.text.count("trouble with the queue") == 2
