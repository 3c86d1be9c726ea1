"""How long jobs of killed workers are nobody's: measured from the kill until they are in the queue or begun again."""

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
    left_behind: list[Post]
    disturbed: bool
    """Whether the queue was away meanwhile."""
    waiting: list[Post] = dataclasses.field(default_factory=list)
    unbegun: list[Post] = dataclasses.field(default_factory=list)
    recovered_after: float = 0.0
    begun_after: float = 0.0

    def __post_init__(self) -> None:
        self.waiting, self.unbegun = list(self.left_behind), list(self.left_behind)

    def look(self) -> None:
        """Lets go of the jobs that are in the queue again, have been begun by others, or have ended."""
        seconds = time.monotonic() - self.at
        waiting = [post for post in self.waiting if not self._is_recovered(post)]
        unbegun = [post for post in self.unbegun if not self._is_begun(post)]
        if len(waiting) < len(self.waiting):
            self.waiting, self.recovered_after = waiting, seconds
        if len(unbegun) < len(self.unbegun):
            self.unbegun, self.begun_after = unbegun, seconds

    def _is_begun(self, post: Post) -> bool:
        dead_hands = post.worker_name is not None and post.worker_name.startswith(f"{self.worker}-".encode())
        return not post.in_flight or (post.status == b"started" and not dead_hands)

    def _is_recovered(self, post: Post) -> bool:
        return self._is_begun(post) or (post.status == b"queued" and not post.stranded)


class Recoveries:
    """All deaths of a run."""

    def __init__(self) -> None:
        self._deaths: list[Death] = []

    def begin(self, worker: str, at: float, posts: Iterable[Post], *, disturbed: bool) -> None:
        """Books a death: whose, when (`time.monotonic`), and the jobs that were left behind."""
        self._deaths.append(Death(worker, at, list(posts), disturbed))

    def look(self, *, queue_is_away: bool) -> None:
        """Goes by what the client has seen last."""
        for death in self._deaths:
            if death.unbegun:
                death.disturbed |= queue_is_away
                death.look()

    def deaths(self, *, disturbed: bool) -> list[Death]:
        """Those that left jobs behind: while the queue was there all the time, or the others."""
        return [death for death in self._deaths if death.left_behind and death.disturbed is disturbed]
