"""Which code trained a bundle: one hash over the sources of this package."""

from __future__ import annotations

import hashlib
from pathlib import Path


def code_fingerprint(folder: Path | None = None) -> str:
    """SHA-256 over the names and the text of the Python files of ``folder``; of this package if none is given."""
    digest = hashlib.sha256()
    for path in sorted((folder or Path(__file__).parent).glob("*.py")):
        # Line by line: the same on a system that ends its lines in another way.
        text = "\n".join(path.read_text(encoding="utf-8").splitlines())
        digest.update(f"{path.name} {len(text)}\n{text}\n".encode())
    return digest.hexdigest()
