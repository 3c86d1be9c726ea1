"""What must hold once all is over: of every job, of RQ's books, and of the store."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from typing import Final

import redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.registry import CanceledJobRegistry, FailedJobRegistry, FinishedJobRegistry, StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer

from tests.chaos.client import INTERMEDIATE_KEY, Post
from worker.directory_store import DirectoryStore
from worker.generation_queue import GenerationQueue
from worker.protocol import (
    MODEL_KEY,
    QUEUE_NAME,
    RETRIES,
    STORE_FIGURES_KEY,
    FailureReason,
    GenerationResult,
    ProtocolError,
    image_name,
)

_REGISTRIES: Final = {
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "stopped": FailedJobRegistry,
    "canceled": CanceledJobRegistry,
}
_TYPES: Final = {
    "finished": Result.Type.SUCCESSFUL,
    "failed": Result.Type.FAILED,
    "stopped": Result.Type.STOPPED,
}

LASTING: Final = frozenset(
    {MODEL_KEY.encode(), STORE_FIGURES_KEY.encode(), b"rq:queues", b"rq:workers", b"rq:workers:" + QUEUE_NAME.encode()}
    | {kind.key_template.format(QUEUE_NAME).encode() for kind in _REGISTRIES.values()}
)
"""The only keys that stay for ever once all is over; what has expired is swept out of them."""


@dataclasses.dataclass(slots=True)
class Findings:
    """What is wrong, under a heading each; and how the jobs ended."""

    wrong: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: {
            "lost": [],
            "finished twice": [],
            "failed without cause": [],
            "wrong in RQ's books": [],
            "retries spent without cause": [],
            "wrong results or files": [],
        }
    )
    ends: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    finished: int = 0
    images: int = 0
    """Of finished jobs, with repetitions."""


def is_at_rest(client: redis.Redis) -> bool:
    """Whether queue, intermediate list and the registry of started jobs are empty."""
    with client.pipeline(transaction=False) as pipeline:
        pipeline.llen(f"rq:queue:{QUEUE_NAME}")
        pipeline.llen(INTERMEDIATE_KEY)
        pipeline.zcard(StartedJobRegistry(QUEUE_NAME, connection=client).key)
        return not any(pipeline.execute())


def audit(
    client: redis.Redis, posts: list[Post], store: DirectoryStore, revision: str, *, store_failed: bool
) -> Findings:
    """Looks at each job; `store_failed` says that the store was away for longer than workers wait for it."""
    found = Findings()
    members = {
        kind: set(client.zrange(kind(QUEUE_NAME, connection=client).key, 0, -1)) for kind in _REGISTRIES.values()
    }
    for post in posts:
        try:
            job = Job.fetch(post.job_id, connection=client, serializer=JSONSerializer)
        except NoSuchJobError:
            if post.acknowledged:
                found.wrong["lost"].append(f"{post.job_id} is gone")
            else:
                found.ends["never accepted"] += 1
            continue
        status = job.get_status(refresh=False).value
        found.ends[status] += 1
        if status not in _REGISTRIES:
            found.wrong["lost"].append(f"{post.job_id} is {status}")
            continue
        listed = {kind for kind, job_ids in members.items() if job.id.encode() in job_ids}
        if listed != {_REGISTRIES[status]}:
            names = ", ".join(kind.__name__ for kind in listed) or "no registry"
            found.wrong["wrong in RQ's books"].append(f"{job.id} is {status} and in {names}")
        _audit_results(post, job, status, store, revision, found, store_failed=store_failed)
        if job.retries_left is None or RETRIES - job.retries_left > post.deaths:
            spent = f"{job.id} ({status}) has {job.retries_left} of {RETRIES} left, after {post.deaths} deaths"
            found.wrong["retries spent without cause"].append(spent)
    _audit_queue(client, found)
    return found


def _audit_results(
    post: Post, job: Job, status: str, store: DirectoryStore, revision: str, found: Findings, *, store_failed: bool
) -> None:
    results = job.results()
    successes = sum(result.type is Result.Type.SUCCESSFUL for result in results)
    if successes > 1:
        found.wrong["finished twice"].append(f"{job.id} has {successes} results")
    expected = [_TYPES[status]] if status in _TYPES else []
    if [result.type for result in results] != expected:
        kinds = ", ".join(result.type.name for result in results) or "no result"
        found.wrong["wrong in RQ's books"].append(f"{job.id} is {status} and has {kinds}")
        return
    if status == "failed":
        reason = FailureReason.from_text(results[0].exc_string)
        found.ends[f"of them {reason.code}"] += 1
        caused = {"store-failed": store_failed, "worker-lost": post.deaths > RETRIES}
        if not caused.get(reason.code):
            found.wrong["failed without cause"].append(f"{job.id}: {reason.code}: {reason.detail}")
    if status == "finished":
        found.finished += 1
        try:
            _audit_images(post, GenerationResult.from_json(results[0].return_value), store, revision, found)
        except ProtocolError as error:
            found.wrong["wrong results or files"].append(f"{job.id}: {error}")


def _audit_images(post: Post, result: GenerationResult, store: DirectoryStore, revision: str, found: Findings) -> None:
    """Names, sizes and digests; tests/chaos/pixels.py looks at what is in the files."""
    wanted = [image_name(revision, seed, post.request.steps, post.request.sampler) for seed in post.request.image_seeds]
    if [image.name for image in result.images] != wanted:
        found.wrong["wrong results or files"].append(f"{post.job_id} has other images than it asked for")
    for image in result.images:
        found.images += 1
        data = store.get(image.name)
        if data is None or len(data) != image.bytes or hashlib.sha256(data).hexdigest() != image.sha256:
            found.wrong["wrong results or files"].append(f"{post.job_id}: {image.name} is not what was stored")


def _audit_queue(client: redis.Redis, found: Findings) -> None:
    """Nothing may be left of what is on its way, and no lock be held for long."""
    queue = Queue(QUEUE_NAME, connection=client)
    left = {
        "the queue": client.lrange(queue.key, 0, -1),
        "the intermediate list": client.lrange(INTERMEDIATE_KEY, 0, -1),
        "the registry of started jobs": client.zrange(StartedJobRegistry(queue=queue).key, 0, -1),
        "what never lapses": [
            key for key in client.scan_iter(count=1000) if key not in LASTING and client.ttl(key) == -1
        ],
    }
    for place, entries in left.items():
        if entries:
            found.wrong["wrong in RQ's books"].append(f"{len(entries)} entries are left in {place}: {entries[:3]}")
    lock = GenerationQueue(QUEUE_NAME, connection=client).registry_cleaning_key
    if client.ttl(lock) == -1:
        found.wrong["wrong in RQ's books"].append("the maintenance lock is held for ever")
