"""What was checked, told as it happens; the last line is the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable


class CheckError(Exception):
    """A check has found something; the text says what."""


class Report:
    """Counts what held and what did not."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.passed = 0
        self._began = time.monotonic()

    def check(self, what: str, body: Callable[[], object]) -> object:
        """Runs one check; its text, if it gives one, is told. A check fails by raising."""
        began = time.monotonic()
        try:
            found = body()
        except Exception as error:  # whatever it is, the others are still worth knowing
            self.failures.append(what)
            print(
                f"FAILED  {what}: {type(error).__name__ if not isinstance(error, CheckError) else ''} {error}",
                flush=True,
            )
            return None
        self.passed += 1
        seconds = time.monotonic() - began
        told = f": {found}" if isinstance(found, str) else ""
        print(f"ok      {what}{told}" + (f" ({seconds:.0f} s)" if seconds >= 1 else ""), flush=True)
        return found if found is not None else True

    def verdict(self) -> int:
        """Prints the last line; returns the exit code."""
        seconds = time.monotonic() - self._began
        if self.failures:
            print(
                f"docker/verify: FAILED, {len(self.failures)} of {self.passed + len(self.failures)} checks: "
                f"{'; '.join(self.failures)}"
            )
            return 1
        print(f"docker/verify: all {self.passed} checks passed in {seconds:.0f} s")
        return 0
