"""Nothing in the repository belongs to one machine, to one person, or somewhere else."""

import re
from pathlib import Path

import pytest

from tests.unit.project.tree import ROOT, tracked_files

# Each in pieces, so that this file may be searched as well.
MACHINE_PATHS = re.compile(
    rb"(?<![\w./])/(?:" + b"|".join([b"wor" + b"k", b"roo" + b"t", b"Use" + b"rs"]) + rb")(?=[/\s'\"`]|$)"
)
REGISTRY_HOSTS = re.compile(
    b"|".join(
        re.escape(host)
        for host in (b"py" + b"pi.org", b"python" + b"hosted", b"registry.npm" + b"js", b"/opt/" + b"pypi")
    )
)
SECRETS = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE" + rb" KEY-----|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b")

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".heic", ".tif", ".tiff", ".webp"}
MEBIBYTE = 2**20


@pytest.mark.parametrize(
    "pattern", [MACHINE_PATHS, REGISTRY_HOSTS, SECRETS], ids=["machine paths", "registries", "secrets"]
)
def test_no_file_has(pattern: re.Pattern[bytes]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]!r}"
        for path in tracked_files()
        if b"\0" not in (content := path.read_bytes())
        for number, line in enumerate(content.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (MACHINE_PATHS, b"cd /wor" + b"k/main"),
        (MACHINE_PATHS, b"'/roo" + b"t/.cache'"),
        (REGISTRY_HOSTS, b"https://py" + b"pi.org/simple"),
        (SECRETS, b"-----BEGIN RSA PRIVATE" + b" KEY-----"),
    ],
)
def test_the_patterns_find_what_they_are_for(pattern: re.Pattern[bytes], text: bytes) -> None:
    assert pattern.search(text)


@pytest.mark.parametrize(
    "text", [b"the /worker part", b"GET /root-cause", b"docs/work/x", b"https://example.org/work/"]
)
def test_the_patterns_leave_the_rest_alone(text: bytes) -> None:
    assert not MACHINE_PATHS.search(text)


def largest_allowed(path: Path) -> int:
    """In bytes. A bundle is weights; anything else of that size is there by mistake."""
    return 64 * MEBIBYTE if path.is_relative_to(ROOT / "model" / "bundles") else 2 * MEBIBYTE


def test_no_file_is_oversized() -> None:
    assert [path for path in tracked_files() if path.stat().st_size > largest_allowed(path)] == []


def test_there_are_no_photos() -> None:
    assert [path for path in tracked_files() if path.suffix.lower() in PHOTO_SUFFIXES] == []


def test_links_between_documents_lead_somewhere() -> None:
    dead = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked_files()
        if path.suffix == ".md"
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", path.read_text(encoding="utf-8"))
        if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists()
    ]
    assert dead == []
