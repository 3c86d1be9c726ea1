"""In processes of their own, since a hard limit that is lowered stays low."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, tuple(map(int, sys.argv[1:])))
from app.file_limit import file_limit, raise_file_limit
raise_file_limit()
print(file_limit())
"""


@pytest.mark.parametrize(("soft", "hard", "raised"), [(100, 100, 100), (100, 300, 300), (256, 1024, 1024)])
def test_it_is_raised_as_far_as_it_may_be(soft: int, hard: int, raised: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(soft), str(hard)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [str(raised)]
