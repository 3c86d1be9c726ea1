"""Writes docs/licences.md: every package that is shipped, and its licence. `make licences`; `--check` writes nothing.

What is shipped is what the locks of the images hold; its licence pip-licenses reads from the installed packages.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
LOCKS = ("api", "cpu", "gpu-worker")

ALLOWED = re.compile(r"\b(?:Apache|BSD|0BSD|ISC|MIT|MPL|Mozilla Public|PSF|Python Software Foundation|Zlib|CC0)")
"""Licences that let anybody use, change and pass on; of the Mozilla one, changes of its own files come along."""

KNOWN = {
    "async-timeout": "Apache-2.0",  # for older Pythons alone
    "colorama": "BSD-3-Clause",  # for Windows alone
    "jax-cuda12-pjrt": "Apache-2.0",
    "jax-cuda12-plugin": "Apache-2.0",
    "namex": "Apache-2.0",  # by the LICENSE in it
    "simple-parsing": "MIT",  # the whole of its text
    "tensorflow": "Apache-2.0",  # other builds of tensorflow-cpu
}
"""Of packages that do not say it, or that are not installed where this runs."""

NVIDIA = "NVIDIA's own terms for CUDA, which allow passing it on as part of an application"

_INTRODUCTION = """# Licences

What ships in the images, by the locks in requirements/. `make licences` writes this page, and `make release-check`
holds it to what is installed. Bouquet itself is under Apache-2.0; model/bundles/MODEL_CARD.md tells where its bundle
comes from.

The GPU image alone holds NVIDIA's libraries (CUDA, cuDNN and others). They are not free software: read NVIDIA's terms
before you pass that image on. The API image and the CPU worker image hold none of them.

| package | licence | in |
|---|---|---|
"""


def locked(lock: str) -> set[str]:
    """Names of the packages in a lock."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    return {match.lower() for match in re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", text)}


def installed() -> dict[str, str]:
    """Package -> licence, as the packages say themselves."""
    tool = Path(sys.executable).with_name("pip-licenses")
    listing = subprocess.run([tool, "--from=mixed", "--format=json", "--with-system"], capture_output=True, check=True)
    return {
        re.sub(r"[-_.]+", "-", entry["Name"]).lower(): " ".join(entry["License"].split())
        for entry in json.loads(listing.stdout)
    }


def page(licences: dict[str, str]) -> str:
    """The page; a package whose licence is not known or not allowed is named in the error."""
    where = {lock: locked(lock) for lock in LOCKS}
    rows, unknown = [], []
    for name in sorted(set().union(*where.values())):
        if name.startswith("nvidia-"):
            licence = NVIDIA
        else:
            licence = KNOWN.get(name) or licences.get(name, "")
            if not ALLOWED.search(licence):
                unknown.append(f"{name}: {licence or 'not installed'}")
                continue
        holders = ", ".join(lock for lock in LOCKS if name in where[lock])
        rows.append(f"| {name} | {licence} | {holders} |\n")
    if unknown:
        sys.exit("Licences to look at (scripts/licences.py):\n" + "\n".join(unknown))
    return _INTRODUCTION + "".join(rows)


def main() -> None:
    """Writes the page, or with --check compares it."""
    written = page(installed())
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(written, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != written:
        sys.exit("docs/licences.md is not what is installed: make licences")


if __name__ == "__main__":
    main()
