"""How much one request may ask for, and the seeds there are."""

from __future__ import annotations

from typing import Final

MAX_STEPS: Final = 1000
MAX_COUNT: Final = 64
MAX_SEED: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""
