"""A real front end for tests: `bouquet api` as a process, in front of a Valkey and a store that others share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.processes import poll

ROOT = Path(__file__).parent.parent


class FrontEnd:
    """Runs while in the context; `api` is a client of it. Keywords are settings, say log_format="json".

    It begins with the right to `open_files` (None: those that the tests may have).
    """

    def __init__(
        self,
        home: Path,
        redis_url: str,
        store: Path | str,
        port: int = 0,
        open_files: int | None = None,
        **settings: object,
    ) -> None:
        self._log = home / "front-end.log"
        environment = {"BOUQUET_REDIS_URL": redis_url, "BOUQUET_STORE": str(store), "PYTHONUNBUFFERED": "1"}
        environment |= {f"BOUQUET_{name.upper()}": str(value) for name, value in settings.items()}
        home.mkdir(parents=True, exist_ok=True)
        limited = [] if open_files is None else ["sh", "-c", 'ulimit -Sn "$0" && exec "$@"', str(open_files)]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*limited, sys.executable, "-m", "app", "api", "--home", str(home), "--port", str(port)],
                cwd=ROOT,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        poll(lambda: self._url() is not None or self.process.poll() is not None, "the front end listens", 60)
        url = self._url()
        assert url is not None, self.log
        self.api = httpx.Client(base_url=url, timeout=60.0, limits=httpx.Limits(max_connections=None))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.api.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if error is not None:
            print(self.log)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self, seconds: float = 20.0) -> int:
        """Ends it in order."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def _url(self) -> str | None:
        found = re.search(r'listening on (http://[^\s"]+)', self.log)
        return found[1] if found else None
