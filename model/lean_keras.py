"""Keras, imported without two large libraries that nobody here calls through it.

TensorFlow imports JAX, for TensorFlow Lite's converter, and Keras matplotlib's pyplot, for a gallery of images, where
they are installed, as they are in the images for GPUs and where there is training. That is a fifth of the time that
the import takes, and some 130 MB. Both do without where they are not installed, so for as long they are made to look
like that. Whoever imports them later gets them.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["keras"]


@contextlib.contextmanager
def _as_if_missing(*names: str) -> Iterator[None]:
    """Imports of these fail as if they were not installed, where they have not been imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: "not found" without a search
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def _backend_wanted() -> str:
    """The backend that Keras is going to take: the variable's, else that of its file of settings."""
    if "KERAS_BACKEND" in os.environ:
        return os.environ["KERAS_BACKEND"]
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    with contextlib.suppress(OSError, ValueError):
        return str(json.loads((home / "keras.json").read_text()).get("backend", "tensorflow"))
    return "tensorflow"


with _as_if_missing("matplotlib", *(["jax"] if _backend_wanted() == "tensorflow" else [])):
    import keras
