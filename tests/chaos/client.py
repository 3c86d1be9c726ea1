"""The client of a chaos run: keeps a number of jobs in flight, cancels some, pushes some into the queue twice."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Iterator
from typing import Final

import redis
import redis.asyncio
from rq import Queue
from rq.serializers import JSONSerializer

from app.job_queue import JobEnded, JobQueue
from worker.protocol import JOB_FUNCTION, QUEUE_NAME, GenerationRequest, enqueue_options

QUEUE_KEY: Final = f"rq:queue:{QUEUE_NAME}"
INTERMEDIATE_KEY: Final = f"{QUEUE_KEY}:intermediate"
ENDED: Final = frozenset({b"finished", b"failed", b"stopped", b"canceled"})

_CANCELED_SHARE: Final = 0.05
_PUSHED_TWICE_SHARE: Final = 0.03
_LONGEST_DELAY: Final = 3.0


@dataclasses.dataclass(slots=True, eq=False)
class Post:
    """A job that was posted."""

    job_id: str
    request: GenerationRequest
    posted_at: float
    acknowledged: bool = True
    """False if the queue went away before it answered: then the job may be there or not, but not half."""
    status: bytes | None = None
    worker_name: bytes | None = None
    stranded: bool = False
    """Whether it is in the intermediate list."""
    ended_at: float | None = None
    cancel_at: float | None = None
    push_at: float | None = None
    deaths: int = 0
    """How often a fault struck that may have cost it a retry."""

    @property
    def in_flight(self) -> bool:
        return self.acknowledged and self.ended_at is None


class Client:
    """Posts and watches. Nothing it does waits long: a queue that does not answer is tried again at the next call."""

    def __init__(self, url: str, seed: int, requests: Iterator[GenerationRequest], in_flight: int) -> None:
        # No retries: the one who brings the queue back is in the same thread.
        self.redis = redis.Redis.from_url(url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=None)
        self._queue = Queue(QUEUE_NAME, connection=self.redis, serializer=JSONSerializer)
        self._front_end = JobQueue(redis.asyncio.Redis.from_url(url), self.redis)
        self._dice = random.Random(f"client of {seed}")
        self._requests = requests
        self._most = in_flight
        self.posts: dict[str, Post] = {}
        self.canceled = 0
        self.pushed_twice = 0

    @property
    def in_flight(self) -> list[Post]:
        return [post for post in self.posts.values() if post.in_flight]

    @property
    def accepted(self) -> int:
        """Jobs whose posting the queue has acknowledged."""
        return sum(post.acknowledged for post in self.posts.values())

    @property
    def ended(self) -> int:
        return sum(post.ended_at is not None for post in self.posts.values())

    @property
    def answers(self) -> bool:
        """Whether the queue does."""
        try:
            return bool(self.redis.ping())
        except redis.RedisError:
            return False

    def look(self) -> bool:
        """Reads where the jobs in flight are; returns whether the queue answered."""
        posts = self.in_flight
        try:
            with self.redis.pipeline(transaction=False) as pipeline:
                for post in posts:
                    pipeline.hmget(f"rq:job:{post.job_id}", "status", "worker_name")
                pipeline.lrange(INTERMEDIATE_KEY, 0, -1)
                *answers, intermediate = pipeline.execute()
        except redis.RedisError:
            return False
        for post, (status, worker_name) in zip(posts, answers, strict=True):
            post.status, post.worker_name = status, worker_name
            post.stranded = post.job_id.encode() in intermediate
            if status in ENDED:
                post.ended_at = time.monotonic()
        return True

    def act(self, most: int) -> None:
        """Posts what is missing in flight, until `most` jobs are accepted; cancels and pushes twice what is due."""
        try:
            in_flight = self.in_flight
            for _ in range(min(self._most - len(in_flight), most - self.accepted)):
                self._post()
            for post in in_flight:
                self._meddle(post)
        except redis.RedisError:
            return

    def _post(self) -> None:
        request, moment = next(self._requests), time.monotonic()
        post = Post(f"chaos-{len(self.posts):06d}", request, moment)
        if self._dice.random() < _CANCELED_SHARE:
            post.cancel_at = moment + self._dice.uniform(0.0, _LONGEST_DELAY)
        if self._dice.random() < _PUSHED_TWICE_SHARE:
            post.push_at = moment + self._dice.uniform(0.0, _LONGEST_DELAY)
        self.posts[post.job_id] = post
        try:
            options = enqueue_options(request)
            self._queue.enqueue(JOB_FUNCTION, kwargs=request.to_kwargs(), job_id=post.job_id, **options)
        except redis.RedisError:
            post.acknowledged = False
            raise

    def _meddle(self, post: Post) -> None:
        moment = time.monotonic()
        if post.push_at is not None and moment >= post.push_at:
            post.push_at = None
            self.redis.rpush(QUEUE_KEY, post.job_id)
            self.pushed_twice += 1
        if post.cancel_at is not None and moment >= post.cancel_at:
            post.cancel_at = None
            try:
                asyncio.run(self._front_end.cancel(post.job_id))
                self.canceled += 1
            except JobEnded:
                pass
