"""What the front end and the workers say to one another: requests, results, and the names of queues, keys and images.

    request.py        what is asked for
    sampler.py        the samplers, by name
    kind.py           kinds of flowers, by name
    limits.py         the bounds of it all
    job.py            how a request is put into RQ's queue
    messages.py       what a worker tells of a job that runs
    result.py         what a job that succeeded leaves
    failure.py        what a job that failed leaves
    image_address.py  what an image is a function of, and the name that says so
    readiness.py      what a worker says of itself
    keys.py           where in Redis all this is, but for what RQ keeps
    checks.py         what every message is held to

All public names are to be had from here, and whoever is not one of these files imports them from here.

Standard library only, because the front end imports it and must start without TensorFlow. Everything here is either
immutable or pure, and everything that crosses Redis is JSON.
"""

from worker.protocol.checks import ProtocolError
from worker.protocol.failure import FailureReason
from worker.protocol.image_address import ImageAddress, ImageForm, ImageKey, image_name, parse_image_name
from worker.protocol.job import (
    FAILURE_TTL,
    JOB_FUNCTION,
    QUEUE_NAME,
    RESULT_TTL,
    RETRIES,
    enqueue_options,
    job_timeout,
)
from worker.protocol.keys import (
    MODEL_KEY,
    READY_KEY_PATTERN,
    STORE_FIGURES_KEY,
    WATCH_SECONDS,
    WORKER_METRICS_INDEX,
    WORKER_METRICS_SECONDS,
    message_channel,
    progress_key,
    watch_key,
    worker_metrics_key,
    worker_ready_key,
)
from worker.protocol.kind import MAX_KIND_LENGTH, check_kind
from worker.protocol.limits import MAX_COUNT, MAX_SEED, MAX_STEPS
from worker.protocol.messages import Ended, JobMessage, Preview, Progress, read_message, write_message
from worker.protocol.readiness import WorkerReadiness
from worker.protocol.request import GenerationRequest
from worker.protocol.result import KIND_KEYWORD, GenerationResult, ImageRecord
from worker.protocol.sampler import SAMPLERS, SamplerName

__all__ = [
    "FAILURE_TTL",
    "JOB_FUNCTION",
    "KIND_KEYWORD",
    "MAX_COUNT",
    "MAX_KIND_LENGTH",
    "MAX_SEED",
    "MAX_STEPS",
    "MODEL_KEY",
    "QUEUE_NAME",
    "READY_KEY_PATTERN",
    "RESULT_TTL",
    "RETRIES",
    "SAMPLERS",
    "STORE_FIGURES_KEY",
    "WATCH_SECONDS",
    "WORKER_METRICS_INDEX",
    "WORKER_METRICS_SECONDS",
    "Ended",
    "FailureReason",
    "GenerationRequest",
    "GenerationResult",
    "ImageAddress",
    "ImageForm",
    "ImageKey",
    "ImageRecord",
    "JobMessage",
    "Preview",
    "Progress",
    "ProtocolError",
    "SamplerName",
    "WorkerReadiness",
    "check_kind",
    "enqueue_options",
    "image_name",
    "job_timeout",
    "message_channel",
    "parse_image_name",
    "progress_key",
    "read_message",
    "watch_key",
    "worker_metrics_key",
    "worker_ready_key",
    "write_message",
]
