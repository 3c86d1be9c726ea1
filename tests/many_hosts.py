"""The acceptance tests against two front ends and two production workers, each front end on an address of its own.

    python -m tests.many_hosts [options for pytest]

One Valkey over TCP with a password, one S3 server, a load balancer that takes the front ends in turn. While the tests
run, each worker is killed once, and another takes its place: nobody may notice. (A front end that is killed breaks the
connections that it has; tests/integration/test_many_hosts.py ends those as well, and asks the other one.)
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import redis

from tests.addresses import free_port
from tests.balancer import Balancer
from tests.front_end import FrontEnd
from tests.processes import poll
from tests.s3_server import BUCKET, S3Server
from tests.serving import ROOT
from tests.tcp_valkey import TcpValkey
from tests.worker_process import WorkerProcess

STORE = f"s3://{BUCKET}/flowers"
_HOSTS = ("127.0.0.2", "127.0.0.3")
_WRITE_BUNDLE = "import sys, pathlib; from tests.bundles import make_tiny_bundle as m; m(pathlib.Path(sys.argv[1]))"


class _Crew:
    """Two workers and two front ends; a worker can be killed and replaced."""

    def __init__(self, folder: Path, redis_url: str, bundle: Path, stack: ExitStack) -> None:
        self._folder, self._url, self._bundle, self._stack = folder, redis_url, bundle, stack
        self._numbers = itertools.count()
        self.ports = [free_port(host) for host in _HOSTS]
        self.workers = [self._worker(), self._worker()]
        self.fronts = [self._front(0), self._front(1)]
        with redis.Redis.from_url(redis_url) as client:
            for worker in self.workers:
                poll(lambda worker=worker: worker.is_ready(client), f"{worker.name} is ready", 180)

    def kill_worker(self, place: int) -> None:
        self.workers[place].kill()
        self.workers[place] = self._worker()

    def _worker(self) -> WorkerProcess:
        name = f"host{next(self._numbers)}"
        environment = {"BOUQUET_REDIS_URL": self._url, "BOUQUET_STORE": STORE, "BOUQUET_BUNDLE": str(self._bundle)}
        worker = WorkerProcess.start(name, self._folder / f"{name}.log", environment)
        self._stack.callback(worker.close)
        return worker

    def _front(self, place: int) -> FrontEnd:
        folder = self._folder / f"front{next(self._numbers)}"
        front = FrontEnd(folder, self._url, STORE, self.ports[place], host=_HOSTS[place], queue_limit=200000)
        return self._stack.enter_context(front)


def main(options: list[str]) -> int:
    """Runs pytest; returns its exit code."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bundle = folder / "tiny.safetensors"
        subprocess.run([sys.executable, "-c", _WRITE_BUNDLE, str(bundle)], cwd=ROOT, check=True, capture_output=True)
        valkey = TcpValkey(folder / "queue", "127.0.0.4", "a-password-of-the-moment")
        stack.callback(valkey.close)
        s3 = S3Server(folder / "s3.log", "127.0.0.5")
        stack.callback(s3.close)
        os.environ.update(s3.environment())
        crew = _Crew(folder, valkey.url, bundle, stack)
        balancer = Balancer(list(zip(_HOSTS, crew.ports, strict=True)))
        stack.callback(balancer.close)
        tests = subprocess.Popen(
            [sys.executable, "-m", "pytest", "tests/acceptance", "-p", "no:cacheprovider", *options],
            cwd=ROOT,
            env=os.environ | {"ACCEPTANCE_URL": balancer.url},
        )
        for place in (0, 1):
            if _wait(tests, 10.0) is None:
                crew.kill_worker(place)
                print(f"\nworker {place} was killed", flush=True)
        code = tests.wait()
        shares = ", ".join(f"{count} at {host}" for (host, _), count in sorted(balancer.taken.items()))
        print(f"connections: {shares}")
        return code


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Its exit code, or None if it runs for longer."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
