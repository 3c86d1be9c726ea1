"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, through a file beside it, so that no reader and no crash ever sees half of it.

    Raises:
        OSError: the disk is full, the folder is not writable; whatever stood at ``path`` before is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: a rename is atomic within one file system only.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
