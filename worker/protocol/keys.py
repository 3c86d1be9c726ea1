"""The keys and channels in Redis by which front end and workers tell one another things, beside those of RQ."""

from __future__ import annotations

from typing import Final

MODEL_KEY: Final = "bouquet:model"
"""Redis key of the JSON description of the bundle that is served (`Bundle.description()`)."""

READY_KEY_PATTERN: Final = "bouquet:worker:*:ready"
"""Matches every `worker_ready_key`, for SCAN: the service is ready when there is at least one."""


def worker_ready_key(worker_name: str) -> str:
    """Redis key of a worker's `WorkerReadiness`; the beat refreshes it, so it is gone soon after the worker is."""
    return f"bouquet:worker:{worker_name}:ready"


WORKER_METRICS_INDEX: Final = "bouquet:worker-metrics"
"""Sorted set of the workers that have told their figures; the score is when they lapse, in seconds since 1970."""

WORKER_METRICS_SECONDS: Final = 90
"""For how long a worker's figures are kept: longer than it takes to miss it, so that its last ones are scraped too."""


def worker_metrics_key(worker_name: str) -> str:
    """Redis key of a worker's figures: Prometheus' text format, compressed by zlib; see worker/metrics.py."""
    return f"bouquet:worker:{worker_name}:metrics"


STORE_FIGURES_KEY: Final = "bouquet:store"
"""Redis hash of what retention found in the image store: bytes, images, limit_bytes, removed (since ever)."""


def progress_key(job_id: str) -> str:
    """Redis key of a job's `Progress` hash; expires a while after the last write."""
    return f"bouquet:progress:{job_id}"


WATCH_SECONDS: Final = 6
"""For how long a job counts as watched once a front end has said so at its `watch_key`."""


def watch_key(job_id: str) -> str:
    """Redis key that is there while somebody watches the job; the front end renews it, WATCH_SECONDS at a time."""
    return f"bouquet:watch:{job_id}"


def message_channel(job_id: str) -> str:
    """Redis channel (publish and subscribe) of a watched job's `JobMessage`s."""
    return f"bouquet:messages:{job_id}"
