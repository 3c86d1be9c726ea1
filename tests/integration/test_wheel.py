"""The built package holds everything that runs: sources, the page, the trained bundle; and nothing else."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.unit.project.tree import PACKAGES, ROOT, tracked_files


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in a wheel, built from a copy so that the checkout stays as it is."""
    checkout, wheels = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheels")
    for path in tracked_files():
        copy = checkout / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    command = [
        "pip",
        "--quiet",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(wheels),
        ".",
    ]
    subprocess.run([sys.executable, "-m", *command], cwd=checkout, check=True, timeout=250)
    (wheel,) = wheels.glob("bouquet-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_what_the_packages_hold(wheel_names: set[str]) -> None:
    in_tree = {
        path.relative_to(ROOT).as_posix()
        for path in tracked_files()
        if path.relative_to(ROOT).parts[0] in PACKAGES and path.suffix != ".md"
    }
    assert in_tree - wheel_names == set()


def test_the_wheel_holds_nothing_else(wheel_names: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} - {"benchmarks"} == set(PACKAGES)
