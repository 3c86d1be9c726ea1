"""What an image must be, whoever runs it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from verification.report import CheckError

MEGABYTE: Final = 1_000_000
API_LIMIT: Final = 250 * MEGABYTE
_BUILD_TOOLS: Final = re.compile(
    r"(?:x86_64-linux-gnu-|aarch64-linux-gnu-)?(?:gcc|g\+\+|cc|c\+\+|clang|ld|as|make|cmake|rustc|cargo|go)(?:-\d+)?"
)
_SECRETS: Final = re.compile(rb"BEGIN [A-Z ]*PRIVATE" + rb" KEY-----")


def files(root: Path) -> Iterator[Path]:
    """Every file and link of an image."""
    for folder, names, found in os.walk(root):
        names[:] = [name for name in names if not (folder == str(root) and name in ("proc", "sys", "dev"))]
        yield from (Path(folder) / name for name in found)


def size(root: Path) -> int:
    """In bytes, hard links counted once."""
    seen: dict[tuple[int, int], int] = {}
    for path in files(root):
        status = path.lstat()
        seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def check_size(root: Path, base: int, limit: int | None) -> str:
    """Raises CheckError above the limit."""
    total = size(root)
    if limit is not None and total >= limit:
        raise CheckError(f"{total / MEGABYTE:.0f} MB, and {limit / MEGABYTE:.0f} are allowed")
    return f"{total / MEGABYTE:.0f} MB, {base / MEGABYTE:.0f} of them the base"


def check_configuration(configuration: Mapping[str, Any], version: str) -> str:
    """User, command, health check and labels."""
    config = configuration["config"]
    user, check, labels = config.get("User", ""), config.get("Healthcheck") or {}, config.get("Labels") or {}
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", user):
        raise CheckError(f"runs as {user or 'root'}")
    if config.get("Entrypoint") != ["bouquet"]:
        raise CheckError(f"its entry point is {config.get('Entrypoint')}, where signals may not arrive")
    if check.get("Test", [""])[0] != "CMD" or not check.get("StartPeriod"):
        raise CheckError(f"its health check is {check}")
    if labels.get("org.opencontainers.image.version") != version:
        raise CheckError(f"its labels are {labels}")
    return f"user {user}, starts within {check['StartPeriod'] // 10**9} s or is unhealthy, version {version}"


def check_contents(root: Path, *, without: tuple[str, ...]) -> str:
    """No build tools, no installer, no secrets, no packages that do not belong, nothing that all may write."""
    found = list(files(root))
    tools = [str(path) for path in found if path.parent.name in ("bin", "sbin") and _BUILD_TOOLS.fullmatch(path.name)]
    site = next((root / "opt/bouquet/lib").glob("python3*/site-packages"))
    installers = [name for name in ("pip", "setuptools", "wheel", "uv") if (site / name).exists()]
    strangers = [path.name for path in site.iterdir() if path.name.partition("-")[0].lower() in without]
    others = sorted(path.name for path in (root / "opt").iterdir() if path.name != "bouquet")
    configured = [str(path) for path in found if path.name in ("pip.conf", ".netrc")]
    keys = [str(path) for path in found if path.suffix in (".pem", ".key") and _is_private_key(path)]
    writable = [str(path) for path in found if not path.is_symlink() and path.lstat().st_mode & 0o002]
    special = [str(path) for path in found if str(path).startswith(f"{root}/opt") and path.lstat().st_mode & 0o6000]
    if faults := [*tools, *installers, *strangers, *others, *configured, *keys, *writable[:5], *special]:
        raise CheckError(f"has {', '.join(faults).replace(str(root), '')}")
    return f"{len(found)} files"


def _is_private_key(path: Path) -> bool:
    return path.is_file() and bool(_SECRETS.search(path.read_bytes()))
