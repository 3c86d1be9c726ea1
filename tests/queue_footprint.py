"""What a job, a worker and a front end cost the queue's server: commands, memory, processor time.

    python -m tests.queue_footprint [--jobs 400]

With a real front end, a real Valkey and light workers (tests/light_worker.py), since the network is none of the queue's
business. docs/deployment.md plans with these figures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis

from tests.front_end import FrontEnd
from tests.nursery import Nursery
from tests.processes import poll
from tests.valkey_server import ValkeyServer
from tests.worker_process import WorkerProcess

_IDLE_SECONDS = 10.0


def main() -> int:
    """Prints a line a figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.queue_footprint", description=__doc__)
    parser.add_argument("--jobs", type=int, default=400)
    jobs = parser.parse_args().jobs
    nursery = Nursery()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        valkey = ValkeyServer(folder / "queue", flush="always")
        valkey.start()
        try:
            with valkey.connect() as client, FrontEnd(folder / "api", valkey.url, folder / "images") as front:
                _measure(client, front, nursery, folder, valkey.url, jobs)
        finally:
            valkey.close()
            nursery.close()
    return 0


def _measure(client: redis.Redis, front: FrontEnd, nursery: Nursery, folder: Path, url: str, jobs: int) -> None:
    alone = _commands_while_idle(client)
    began = _figures(client)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: front.api.post("/generate", json={"seed": seed, "steps": 2}), range(jobs)))
    posted = _figures(client)
    print(f"waiting job: {(posted['memory'] - began['memory']) / jobs:.0f} bytes")
    print(
        f"posting a job: {(posted['commands'] - began['commands']) / jobs:.1f} commands, "
        f"{1e6 * (posted['cpu'] - began['cpu']) / jobs:.0f} us of the server's processor"
    )
    environment = {
        "BOUQUET_REDIS_URL": url,
        "BOUQUET_STORE": str(folder / "images"),
        "BOUQUET_LEASE_SECONDS": "15",
        "BOUQUET_BEAT_SECONDS": "3",
        "BOUQUET_MAINTENANCE_SECONDS": "5",
    }
    worker = WorkerProcess.start_light(nursery, "w", folder / "w.log", environment, [])
    try:
        poll(lambda: worker.is_ready(client), "the worker is ready", 60)
        poll(lambda: client.llen("rq:queue:bouquet") == 0 and client.zcard("rq:wip:bouquet") == 0, "all is done", 300)
        done = _figures(client)
        print(
            f"working off a job: {(done['commands'] - posted['commands']) / jobs:.1f} commands, "
            f"{1e6 * (done['cpu'] - posted['cpu']) / jobs:.0f} us of the server's processor"
        )
        print(f"finished job, for a day: {(done['memory'] - began['memory']) / jobs:.0f} bytes")
        print(f"idle front end: {alone:.1f} commands a second")
        print(f"idle worker: {_commands_while_idle(client) - alone:.1f} commands a second")
    finally:
        worker.close()


def _commands_while_idle(client: redis.Redis) -> float:
    began = _figures(client)["commands"]
    time.sleep(_IDLE_SECONDS)
    return (_figures(client)["commands"] - began) / _IDLE_SECONDS


def _figures(client: redis.Redis) -> dict[str, float]:
    info: dict[str, Any] = client.info()
    return {
        "commands": float(info["total_commands_processed"]),
        "memory": float(info["used_memory_dataset"]),
        "cpu": float(info["used_cpu_user"]) + float(info["used_cpu_sys"]),
    }


if __name__ == "__main__":
    sys.exit(main())
