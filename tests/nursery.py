"""Light workers without the seconds that their imports take: a process that has imported all forks one for each test.

Every worker is a process of its own all the same, in a session of its own, that can be sent any signal. (A process in
which TensorFlow has run must never fork; this one has Keras' NumPy backend instead.) Two more nurseries import
TensorFlow and leave it untouched: tests/chaos/nursery.py of production workers, tests/training_nursery.py of trainings.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


class Nursery:
    """The client's side: runs `module`, which calls `serve`. Use from one thread."""

    def __init__(self, module: str = "tests.nursery", backend: str = "numpy") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            # OpenBLAS' threads start when NumPy is imported, and must not be there at a fork.
            env=os.environ | {"KERAS_BACKEND": backend, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
        request = {"arguments": list(arguments), "environment": dict(environment), "log": str(log)}
        return Child(self, self.ask(request))

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


class Child:
    """A forked process, with the methods of subprocess.Popen that tests need."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self._nursery = nursery
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            self._code = self._nursery.ask({"poll": self.pid})
        return self._code

    def wait(self, timeout: float = 60.0) -> int:
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a forked process", timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve(main: Callable[[Sequence[str]], int]) -> None:
    """The nursery's side: one JSON object a line in, one out. Each child runs `main` with its arguments."""
    tasks = Path("/proc/self/task")  # of Linux; elsewhere nobody looks
    assert not tasks.exists() or len(list(tasks.iterdir())) == 1, "there are threads that a fork would lose"
    for line in sys.stdin:
        request = json.loads(line)
        if (pid := request.get("poll")) is not None:
            ended, status = os.waitpid(pid, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if answer == 0:
                _be_a_child(main, request)
        print(json.dumps(answer), flush=True)


def _be_a_child(main: Callable[[Sequence[str]], int], request: dict[str, Any]) -> None:
    code = 1
    try:
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        os.environ.update(request["environment"])
        code = main(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    from tests import light_worker
    from worker import batch_worker  # all that a worker imports: its children need not, then

    assert batch_worker.__name__ in sys.modules
    assert "tensorflow" not in sys.modules
    serve(light_worker.main)
