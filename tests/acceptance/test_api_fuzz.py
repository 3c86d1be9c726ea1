"""The OpenAPI document, held to the service: what it allows is taken, what it forbids refused, every answer is in it.

A few seconds of what `make fuzz` does for ten minutes, and the same in every run.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.fuzz.schema import fuzz


@pytest.mark.timeout(600)
def test_schemathesis_finds_nothing(api: httpx.Client, service: str, tmp_path: Path) -> None:
    try:
        operations = sum(len(path) for path in api.get("/openapi.json").json()["paths"].values())
        for seconds in (15, 60, 180):  # on a busy machine the first may not be enough to come to all of them
            report = fuzz(service, tmp_path / f"report-{seconds}", seconds=seconds, seed=20, examples=15)
            if f"Tested: {operations}" in report:
                break
        assert f"Tested: {operations}" in report, report
    finally:
        for status in ("queued", "running"):  # what it left would keep the tests that follow waiting
            for job in api.get("/jobs", params={"status": status, "limit": 100}).json()["jobs"]:
                api.delete(f"/jobs/{job['id']}")
    assert api.get("/health/ready").status_code == 200
