"""The thread in which a worker hears commands outlives whatever befalls its connection."""

from __future__ import annotations

from typing import Any, cast

import pytest
import redis
from rq.command import send_stop_job_command
from rq.job import Job

from tests.valkey_server import ValkeyServer
from tests.worker_process import Jobs
from worker import batch_worker
from worker.batch_worker import BatchWorker
from worker.settings import WorkerSettings


@pytest.mark.parametrize("error", [redis.TimeoutError("its host has vanished"), redis.ConnectionError("refused")])
def test_it_hears_again(
    error: redis.RedisError, client: redis.Redis, valkey: ValkeyServer, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_worker, "PAUSE_SECONDS", 0.0)
    worker = BatchWorker(WorkerSettings(redis_url=valkey.url), client, "listener", cast("Any", None))
    worker.subscribe()
    hear = worker.pubsub.get_message
    failures = [error]

    def get_message(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return hear(*arguments, **options)

    worker.pubsub.get_message = get_message
    client.publish(worker.pubsub_channel_name, "nothing")  # what it waits for ends, and the next time fails
    job: Job = jobs.post(1, 1)
    job.worker_name = worker.name
    job.save()
    job.set_status("started")
    send_stop_job_command(client, job.id, serializer=jobs.queue.serializer)
    try:
        assert worker._orders.get(timeout=30) == job.id
        assert not failures
    finally:
        worker.unsubscribe()
