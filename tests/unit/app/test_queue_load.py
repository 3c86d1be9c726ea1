import pytest

from app.queue_load import LoadMeter, QueueLoad
from app.submission import LONGEST_RETRY, RETRY_WITHOUT_WORKER, queue_full


def test_eta_counts_what_runs_what_is_ahead_and_the_job_itself() -> None:
    load = QueueLoad(ahead=[0, 20, 120], running=30, rate=10.0, workers=1)
    assert load.waiting == 120
    assert load.jobs == 2
    assert load.eta_seconds(0, 20) == 5.0
    assert load.eta_seconds(1, 100) == 15.0
    assert load.eta_seconds(99, 10) == 16.0


def test_without_a_worker_nobody_can_tell() -> None:
    assert QueueLoad().eta_seconds(0, 20) is None
    assert QueueLoad().seconds_until_room(20, 100) is None


def test_full_is_counted_in_image_steps() -> None:
    meter = LoadMeter(connection=None)  # type: ignore[arg-type] # never looks
    assert [meter.reserve(f"{number:032x}-40", 40, limit=100) for number in range(4)] == [0, 1, None, None]
    assert meter.reserve("a-20", 20, limit=100) == 2
    assert meter.reserve("b-1", 1, limit=100) is None


def test_a_job_larger_than_the_limit_goes_into_an_empty_queue_only() -> None:
    meter = LoadMeter(connection=None)  # type: ignore[arg-type]
    assert meter.reserve("a-500", 500, limit=100) == 0
    assert meter.reserve("b-1", 1, limit=100) is None


@pytest.mark.parametrize(
    ("load", "image_steps", "seconds"),
    [
        (QueueLoad(ahead=[0, 100], rate=10.0), 20, 2),  # 20 too much at 10 a second
        (QueueLoad(ahead=[0, 100], rate=3.0), 20, 7),
        (QueueLoad(ahead=[0, 100], rate=1000.0), 1, 1),
        (QueueLoad(ahead=[0, 10**9], rate=1.0), 1, LONGEST_RETRY),
        (QueueLoad(ahead=[0, 100]), 20, RETRY_WITHOUT_WORKER),
        (QueueLoad(ahead=[0, 50], rate=10.0), 900, 5),  # fits only once the queue is empty
    ],
)
def test_retry_after_is_when_there_will_be_room(load: QueueLoad, image_steps: int, seconds: int) -> None:
    error = queue_full(load, image_steps, limit=100)
    assert error.headers["Retry-After"] == str(seconds)
    assert error.extra["queued_image_steps"] == load.waiting
