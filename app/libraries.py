"""Whether this Python can run the model, said before anything starts. Looks without importing."""

import importlib.util
import os
import sys

# Where TensorFlow has wheels: the same range as `requires-python` in pyproject.toml; a test holds them together.
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 13)


def missing_libraries() -> str | None:
    """Return why the model cannot run here and what to do, or None if it can."""
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return (
            f"Python {sys.version_info[0]}.{sys.version_info[1]} is not supported by TensorFlow here. Use Python 3.11, "
            "3.12 or 3.13: `make serve` picks one that is installed, `make serve PYTHON=/path/to/python3.12` that one."
        )
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    missing = [name for name in ("keras", backend) if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"{' and '.join(missing)} cannot be found in {sys.prefix}. Install what computes the images: "
            "pip install 'bouquet[cpu]' (or [gpu]), or let `make serve` do it."
        )
    return None
