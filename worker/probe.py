"""`python -m worker.probe`: whether a worker of this machine is ready, for a container's health check.

A worker renews its word that it is ready with every beat. So one that hangs, that has lost the queue, or that still
loads its bundle is not ready; whoever restarts workers because of this must leave them the time to load.
"""

from __future__ import annotations

import socket
import sys
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.protocol import READY_KEY_PATTERN
from worker.settings import WorkerSettings

ANSWER_SECONDS: Final = 4.0


def probe(settings: WorkerSettings, machine: str) -> str | None:
    """Why no worker whose name begins with `machine` is ready, or None if one is."""
    connection = redis.Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        for _ in connection.scan_iter(READY_KEY_PATTERN.replace("*", f"{_literally(machine)}-*"), count=1000):
            return None
    except redis.RedisError as error:
        return f"the queue's Redis does not answer: {type(error).__name__}"
    finally:
        connection.close()
    return f"no worker of {machine} is ready"


def _literally(name: str) -> str:
    """The pattern that matches a name and nothing else."""
    return "".join(f"\\{letter}" if letter in "*?[]^\\" else letter for letter in name)


def main() -> int:
    """Exit code 0 if one is ready, else 1 and the reason."""
    problem = probe(WorkerSettings.from_environ(), socket.gethostname())
    print(problem or "a worker is ready")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
