"""Where the project's files are."""

import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
PACKAGES = ("app", "model", "worker")


@cache
def pyproject() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def tracked_files() -> tuple[Path, ...]:
    """Every file that git holds or would take with `git add`, absolute, sorted."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    names = sorted({name for name in listing.split("\0") if name})
    return tuple(path for name in names if (path := ROOT / name).is_file())


@cache
def sources(package: str) -> tuple[Path, ...]:
    """The Python files of one package, sorted."""
    return tuple(path for path in tracked_files() if path.suffix == ".py" and path.is_relative_to(ROOT / package))
