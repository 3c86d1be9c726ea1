"""scripts/find-python takes a Python that TensorFlow supports, and says what to install where there is none."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.project.tree import ROOT, pyproject

SCRIPT = ROOT / "scripts" / "find-python"


def make_python(folder: Path, name: str, version: tuple[int, int, int], *, with_venv: bool = True) -> Path:
    """A command that is this Python but claims another version, or to have come without venv."""
    disguise = f"import sys; sys.version_info = {version}; "
    if not with_venv:
        disguise += "sys.modules['ensurepip'] = None; "
    path = folder / name
    path.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(disguise + "exec(sys.argv[1])")} "$2"\n'
    )
    path.chmod(0o755)
    return path


def find(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script where `folder` holds all the Pythons that there are."""
    return subprocess.run(
        ["/bin/sh", str(SCRIPT), *arguments],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 12, 4), (3, 13, 9)])
def test_takes_a_supported_python(tmp_path: Path, version: tuple[int, int, int]) -> None:
    python = make_python(tmp_path, "python3", version)
    found = find(tmp_path)
    assert (found.returncode, found.stdout.strip(), found.stderr) == (0, str(python), "")


def test_passes_over_those_that_are_not(tmp_path: Path) -> None:
    make_python(tmp_path, "python3", (3, 14, 0))
    python = make_python(tmp_path, "python3.11", (3, 11, 7))
    assert find(tmp_path).stdout.strip() == str(python)


def test_passes_over_a_name_that_only_answers_with_an_error(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'not installed' >&2\nexit 127\n")
    shim.chmod(0o755)
    python = make_python(tmp_path, "python3", (3, 13, 1))
    assert find(tmp_path).stdout.strip() == str(python)


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 13), (3, 14, 0)])
def test_refuses_the_others_and_says_what_to_install(tmp_path: Path, version: tuple[int, int, int]) -> None:
    make_python(tmp_path, "python3", version)
    found = find(tmp_path)
    assert found.returncode == 1
    assert found.stdout == ""
    assert "Bouquet needs Python 3.11, 3.12 or 3.13" in found.stderr
    assert f"python3 is {'.'.join(map(str, version))}" in found.stderr
    assert "Install one" in found.stderr


def test_says_that_there_is_none(tmp_path: Path) -> None:
    found = find(tmp_path)
    assert found.returncode == 1
    assert "nothing that runs" in found.stderr


def test_says_that_venv_is_missing(tmp_path: Path) -> None:
    make_python(tmp_path, "python3", (3, 12, 3), with_venv=False)
    found = find(tmp_path)
    assert found.returncode == 1
    assert "apt install python3.12-venv" in found.stderr


def test_a_named_python_is_the_only_one_tried(tmp_path: Path) -> None:
    make_python(tmp_path, "python3", (3, 12, 3))
    other = make_python(tmp_path, "my python", (3, 10, 2))
    assert find(tmp_path, str(other)).returncode == 1
    assert find(tmp_path, "nowhere").returncode == 1


def test_the_range_is_that_of_the_package() -> None:
    assert pyproject()["project"]["requires-python"] == ">=3.11,<3.14"
