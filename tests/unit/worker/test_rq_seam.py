"""What worker/rq_internals.py, its neighbours and worker/batch_worker.py lean on in RQ.

When this fails, RQ has changed its insides: read its changes before the pin `rq>=3.0,<3.1` is moved.
"""

import inspect
from collections.abc import Callable
from importlib.metadata import version

import pytest
from rq import worker_registration
from rq.executions import Execution, ExecutionRegistry
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.rate_limit import release_slot
from rq.registry import StartedJobRegistry, clean_registries
from rq.results import Result
from rq.suspension import WORKERS_SUSPENDED
from rq.worker import BaseWorker


def test_the_pinned_rq_is_installed() -> None:
    assert version("rq").startswith("3.0.")


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (Execution.create, "job, ttl, pipeline, worker_name"),
        (Execution.delete, "self, job, pipeline"),
        (Execution.heartbeat, "self, started_job_registry, ttl, pipeline"),
        (
            Job._handle_success,
            "self, result_ttl, pipeline, worker_name, execution_id, execution_started_at, execution_ended_at",
        ),
        (
            Job._handle_failure,
            "self, exc_string, pipeline, worker_name, execution_id, execution_started_at, execution_ended_at",
        ),
        (Job.cleanup, "self, ttl, pipeline, remove_from_queue"),
        (Job.prepare_for_execution, "self, worker_name, pipeline"),
        (Job.restore, "self, raw_data"),
        (Job.retry, "self, queue, pipeline"),
        (Job.send_webhooks, "self, status, exc_string"),
        (Job.set_status, "self, status, pipeline"),
        (Queue._enqueue_job, "self, job, pipeline, at_front, unique"),
        (Queue.enqueue_dependents, "self, job, exclude_job_id, refresh_job_status"),
        (Queue.enqueue_ready_jobs_by_queue, "self, job_ids_by_queue_name"),
        (Queue.move_dependents_to_ready, "self, job, pipeline, exclude_job_id, refresh_job_status"),
        (Queue.acquire_maintenance_lock, "self"),
        (IntermediateQueue.cleanup, "self, worker, queue"),
        (IntermediateQueue.set_first_seen, "self, job_id"),
        (IntermediateQueue.get_first_seen, "self, job_id"),
        (
            Result.create_failure,
            "job, ttl, exc_string, worker_name, pipeline, execution_id, execution_started_at, execution_ended_at",
        ),
        (release_slot, "job"),
        (worker_registration.register, "worker, pipeline"),
        (BaseWorker.bootstrap, "self, logging_level, date_format, log_format"),
        (BaseWorker.check_for_suspension, "self, burst"),
        (BaseWorker.dequeue_job_and_maintain_ttl, "self, timeout, max_idle_time"),
        (BaseWorker.execute_job, "self, job, queue"),
        (BaseWorker.get_heartbeat_ttl, "self, job, working_time"),
        (BaseWorker.handle_payload, "self, message"),
        (BaseWorker.heartbeat, "self, timeout, pipeline"),
        (BaseWorker.increment_failed_job_count, "self, pipeline"),
        (BaseWorker.increment_successful_job_count, "self, pipeline"),
        (BaseWorker.increment_total_working_time, "self, job_execution_time, pipeline"),
        (BaseWorker.request_stop, "self, signum, frame"),
        (BaseWorker.run_maintenance_tasks, "self"),
        (BaseWorker.serialize, "self"),
        (BaseWorker.set_state, "self, state, pipeline"),
        (BaseWorker.teardown, "self"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_a_method_is_called_as_before(function: Callable[..., object], parameters: str) -> None:
    assert ", ".join(inspect.signature(function).parameters) == parameters


@pytest.mark.parametrize(
    ("function", "words"),
    [
        # `work` calls our overrides, in this order, and ends on the flag that our `request_stop` sets.
        (BaseWorker.work, ["self.bootstrap(", "self._install_signal_handlers()", "self.check_for_suspension(burst)"]),
        (
            BaseWorker.work,
            ["self.dequeue_job_and_maintain_ttl(timeout", "self.execute_job(job, queue)", "self.teardown()"],
        ),
        (BaseWorker.work, ["if self._stop_requested:", "except StopRequested:"]),
        (
            BaseWorker._install_signal_handlers,
            ["signal.SIGINT, self.request_stop", "signal.SIGTERM, self.request_stop"],
        ),
        (BaseWorker.subscribe, ["self.handle_payload"]),
        # Maintenance goes through our queue's lock and intermediate list, and cleans with our job class.
        (
            BaseWorker.clean_registries,
            ["queue.acquire_maintenance_lock()", "queue.intermediate_queue.cleanup(self, queue)"],
        ),
        (clean_registries, ["job_class=queue.job_class", "StartedJobRegistry("]),
        # An abandoned job is taken over only while it counts as started, and is queued anew under another status.
        (StartedJobRegistry.cleanup, ["self.job_class.fetch(", "!= JobStatus.STARTED", "job.retry(queue, pipeline)"]),
        # A cancellation is visible in the job's hash, which our transactions watch.
        (Job.cancel, ["self.set_status(JobStatus.CANCELED, pipeline=pipe)"]),
        (
            Execution.create,
            ["job.started_job_registry.add_execution(", "pipeline.sadd(execution.worker_executions_key"],
        ),
        (ExecutionRegistry.add, ["pipeline.expire(self.key, ttl + 60)"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_rq_still_does_what_is_built_upon(function: Callable[..., object], words: list[str]) -> None:
    source = inspect.getsource(function)
    places = [source.find(word) for word in words]
    assert -1 not in places, [word for word, place in zip(words, places, strict=True) if place == -1]
    assert places == sorted(places)


def test_attributes_are_named_as_before() -> None:
    source = inspect.getsource(BaseWorker.__init__) + inspect.getsource(Job.__init__)
    for name in (
        "self.executions:",
        "self._stop_requested",
        "self.last_cleaned_at",
        "self._success_callback_name",
        "self._failure_callback_name",
        "self._stopped_callback_name",
        "self.webhooks",
        "self.repeats_left",
        "self._result",
        "self.retries_left",
    ):
        assert name in source, name
    assert isinstance(BaseWorker.connection_timeout, property)
    assert isinstance(BaseWorker.should_run_maintenance_tasks, property)
    for name in ("func", "success_callback", "failure_callback", "stopped_callback"):
        assert isinstance(getattr(Job, name), property), name
    assert [status.value for status in (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.CANCELED)] == [
        "queued",
        "started",
        "canceled",
    ]
    assert WORKERS_SUSPENDED == "rq:suspended"
    assert worker_registration.WORKERS_BY_QUEUE_KEY == "rq:workers:%s"
