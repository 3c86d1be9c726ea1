"""A variable that one part reads is known to the other, since both are started with the same environment."""

from app import settings as front_end
from worker import settings as worker

FRONT_END = {front_end.PREFIX + name.upper() for name in front_end.Settings.model_fields}
WORKER = {worker.PREFIX + name.upper() for name in worker.WorkerSettings.model_fields}


def test_the_front_end_knows_the_variables_of_the_worker() -> None:
    assert sorted(front_end.WORKER_SETTINGS) == sorted(WORKER - FRONT_END)


def test_the_worker_knows_the_variables_of_the_front_end() -> None:
    assert sorted(worker.FRONT_END_SETTINGS) == sorted(FRONT_END - WORKER)
