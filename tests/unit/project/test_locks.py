"""The locks in requirements/ hold what pyproject.toml asks for, by hash, and agree with one another."""

import re
from functools import cache

import pytest

from tests.unit.project.tree import ROOT, pyproject

EXTRAS = {
    "api": ["s3"],
    "cpu": ["cpu", "s3"],
    "gpu": ["gpu", "s3", "train"],
    "gpu-worker": ["gpu", "s3"],
    "dev": ["cpu", "jax", "s3", "train", "dev"],
    "release": ["release"],
}


@cache
def pins(lock: str) -> dict[str, str]:
    """A package's name -> its entry: version, marker, hashes. One that depends on the Python has its entries joined."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text)):
        name, _, rest = entry.partition("==")
        found[name.partition("[")[0]] = found.get(name, "") + rest
    return found


@pytest.mark.parametrize("lock", EXTRAS)
def test_the_lock_covers_what_is_asked_for(lock: str) -> None:
    project = pyproject()["project"]
    asked = project["dependencies"] + [r for extra in EXTRAS[lock] for r in project["optional-dependencies"][extra]]
    names = {re.match(r"[\w-]+", requirement).group().lower() for requirement in asked}  # type: ignore[union-attr]
    assert names - {"bouquet"} - pins(lock).keys() == set(), "run `make lock`"


@pytest.mark.parametrize("lock", EXTRAS)
def test_the_lock_can_build_the_package_itself(lock: str) -> None:
    assert "setuptools" in pins(lock)


@pytest.mark.parametrize("lock", [*EXTRAS, "uv"])
def test_every_pin_has_a_hash(lock: str) -> None:
    assert [name for name, entry in pins(lock).items() if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", [*EXTRAS, "uv"])
def test_the_lock_names_no_place(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^.*(?:://|--index|--extra-index|--find-links| @ ).*$", text) == []


@pytest.mark.parametrize("lock", ["api", "cpu", "uv"])
def test_what_serves_is_what_was_tested(lock: str) -> None:
    version = re.compile(r"[\w.+]+")
    served = {name: version.findall(entry)[0] for name, entry in pins(lock).items()}
    tested = {name: version.findall(pins("dev")[name])[0] for name in served}
    assert served == tested


def test_the_front_end_is_installed_without_the_models_libraries() -> None:
    assert pins("api").keys() & {"jax", "keras", "numpy", "pillow", "tensorflow", "tensorflow-cpu"} == set()
