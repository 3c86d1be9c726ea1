"""A real `bouquet serve` for tests: its console, its processes, its end."""

import functools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.processes import group_is_gone, poll

ROOT = Path(__file__).parents[1]
START_SECONDS = 90.0  # TensorFlow's import and a warm-up, on a busy machine


class Serve:
    """Runs the command with a free port in a process group of its own, and keeps what it prints.

    Leaving the context asserts that the supervisor and all parts that it ever named are gone.
    """

    def __init__(self, home: Path, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.lines: list[str] = []
        self.home = home
        self._command = [sys.executable, "-m", "app", "serve", "--home", str(home), "--port", "0", *options]
        self._env = os.environ | {"PYTHONUNBUFFERED": "1"} | dict(env or {})

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
                try:
                    self.process.wait(60)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    raise
        finally:
            self.process.wait()
            self._reader.join()
            if error is not None:
                print(self.text)
        self.assert_nothing_left()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines.extend(line.rstrip("\n") for line in lines)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, seconds: float = 30.0, times: int = 1) -> "re.Match[str]":
        """Return the match number `times` of a pattern on the console, once it is there."""

        def matches() -> "list[re.Match[str]]":
            return list(re.finditer(pattern, self.text))

        poll(
            lambda: len(matches()) >= times or not self._reader.is_alive(),
            f"{pattern!r} on the console:\n{self.text}",
            seconds,
        )
        assert len(matches()) >= times, f"ended without {pattern!r} on the console:\n{self.text}"
        return matches()[times - 1]

    def wait_until_live(self) -> str:
        """Return the URL once the API answers."""
        return self.wait_for(r"the API answers at (http://\S+)", START_SECONDS).group(1)

    def wait_until_ready(self) -> str:
        """Return the URL once a worker is warmed up."""
        return self.wait_for(r"ready after [\d.]+ s: (http://\S+)", START_SECONDS).group(1)

    def process_ids(self, part: str) -> Sequence[int]:
        """Every process that ran the part, oldest first."""
        return [int(found) for found in re.findall(rf"{part} is process (\d+)", self.text)]

    def kill(self, part: str) -> None:
        """End the part's newest process in the hardest way, with no word to the supervisor."""
        os.kill(self.process_ids(part)[-1], signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGINT, seconds: float = 60.0) -> int:
        """Signal the supervisor and return its exit code."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = 60.0) -> int:
        """Return the supervisor's exit code once it has ended and all that it said is there to be read."""
        code = self.process.wait(seconds)
        self._reader.join()
        return code

    def assert_nothing_left(self) -> None:
        """No process of any part is left, nor one that such a process started."""
        for leader in self.process_ids(r"[\w-]+"):
            poll(functools.partial(group_is_gone, leader), f"process group {leader} is gone\n{self.text}")
