"""Schemathesis in front of a whole service: what the OpenAPI document says is tried, and what it does not say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFIG = Path(__file__).with_name("schemathesis.toml")
REQUEST_SECONDS = "60"


def fuzz(url: str, folder: Path, *, seconds: int, seed: int | None = None, examples: int | None = None) -> str:
    """Tries everything for so long; returns what Schemathesis says in the end.

    All its checks are on but one. A failure is shrunk and shown with a curl command.

    Raises:
        AssertionError: something was found; the message is what was found.
    """
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(CONFIG)),
        *("run", f"{url}/openapi.json", "--checks", "all", "--mode", "all", "--continue-on-failure", "--no-color"),
        # DELETE cancels a job, which is still there then, and says that it was canceled.
        *("--exclude-checks", "use_after_free"),
        # How long an answer takes is no fault here: a request may wait for its flower.
        *("--max-time", str(seconds), "--request-timeout", REQUEST_SECONDS, "--max-response-time", REQUEST_SECONDS),
        *(("--seed", str(seed)) if seed is not None else ()),
        *(("--max-examples", str(examples)) if examples is not None else ()),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    return run.stdout
