"""How long jobs of killed workers are nobody's: measured from the kill until another worker has begun them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

from tests.chaos.client import Post


@dataclasses.dataclass(slots=True)
class Death:
    """A SIGKILL, and the jobs that were the worker's."""

    worker: str
    at: float
    waiting: dict[str, Post]
    disturbed: bool
    """Whether the queue was away meanwhile."""
    seconds: float = 0.0
    jobs: int = 0

    def look(self) -> None:
        """Lets go of the jobs that have ended or are in other hands."""
        for job_id, post in list(self.waiting.items()):
            dead_hands = post.worker_name is not None and post.worker_name.startswith(f"{self.worker}-".encode())
            if not post.in_flight or (post.status == b"started" and not dead_hands):
                del self.waiting[job_id]
                self.seconds = time.monotonic() - self.at


class Recoveries:
    """All deaths of a run."""

    def __init__(self) -> None:
        self.deaths: list[Death] = []

    def begin(self, worker: str, at: float, posts: Iterable[Post], *, disturbed: bool) -> None:
        waiting = {post.job_id: post for post in posts}
        self.deaths.append(Death(worker, at, waiting, disturbed, jobs=len(waiting)))

    def look(self, *, queue_is_away: bool) -> None:
        for death in self.deaths:
            if death.waiting:
                death.disturbed |= queue_is_away
                death.look()

    def seconds(self, *, disturbed: bool) -> list[float]:
        """Of the deaths that left jobs behind: those while the queue was there all the time, or the others."""
        return sorted(death.seconds for death in self.deaths if death.jobs and death.disturbed is disturbed)
