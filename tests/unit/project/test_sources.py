"""Rules for the sources that ruff, mypy and import-linter cannot hold."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.unit.project.tree import PACKAGES, ROOT, pyproject, sources

SOURCES = [path for package in PACKAGES for path in sources(package)]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """The dotted names that import statements among `nodes` ask for."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("package", PACKAGES)
def test_there_are_sources(package: str) -> None:
    assert ROOT / package / "__init__.py" in sources(package)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(parse(path)), "begin the file with a docstring that names its concept"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "settings.py"], ids=relative)
def test_settings_are_read_in_the_settings_files_only(path: Path) -> None:
    tree = parse(path)
    assert "pydantic_settings" not in set(imported(ast.walk(tree)))
    reads = [node for node in ast.walk(tree) if is_read_of_a_setting(node)]
    assert [f"line {node.lineno}" for node in reads] == [], "take it from the Settings handed in"


def is_read_of_a_setting(node: ast.AST) -> bool:
    """Whether it is environ["BOUQUET_X"], environ.get("BOUQUET_X") or getenv("BOUQUET_X"), however imported."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        source, key = ast.unparse(node.value), node.slice
    elif isinstance(node, ast.Call) and node.args:
        source, key = ast.unparse(node.func), node.args[0]
    else:
        return False
    return source.endswith(("environ", "environ.get", "getenv")) and "BOUQUET_" in ast.unparse(key)


@pytest.mark.parametrize(
    ("code", "reads"),
    [
        ('os.environ["BOUQUET_PORT"]', True),
        ('os.environ.get("BOUQUET_PORT", "8000")', True),
        ('getenv("BOUQUET_PORT")', True),
        ('os.environ["BOUQUET_PORT"] = "0"', False),
        ('os.environ["PATH"]', False),
    ],
)
def test_reads_of_settings_are_recognised(code: str, reads: bool) -> None:
    assert any(is_read_of_a_setting(node) for node in ast.walk(ast.parse(code))) is reads


def test_the_protocol_is_read_with_the_standard_library_alone() -> None:
    at_import = {name for path in sources("worker/protocol") for name in imported(iter(parse(path).body))}
    its_own = {name for name in at_import if name.startswith("worker.protocol.")}
    assert its_own
    assert {name.partition(".")[0] for name in at_import - its_own} <= sys.stdlib_module_names


def declared(*extras: str) -> set[str]:
    """Normalised names of the distributions that pyproject.toml asks for."""
    project = pyproject()["project"]
    requirements = [*project["dependencies"], *(r for extra in extras for r in project["optional-dependencies"][extra])]
    return {normalised(re.match(r"[\w.-]+", requirement).group()) for requirement in requirements}  # type: ignore[union-attr]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("package", "extras"),
    [("app", ()), ("worker", ("cpu", "jax", "s3")), ("model", ("cpu", "jax", "train", "evaluate"))],
)
def test_what_is_imported_is_declared(package: str, extras: tuple[str, ...]) -> None:
    distributions = metadata.packages_distributions()  # what is not installed goes by the name it is imported under
    asked_for = {name.partition(".")[0] for path in sources(package) for name in imported(ast.walk(parse(path)))}
    foreign = asked_for - sys.stdlib_module_names - set(PACKAGES)
    missing = {
        name: distributions.get(name, ["not installed"])
        for name in foreign
        if not {normalised(distribution) for distribution in distributions.get(name, [name])} & declared(*extras)
    }
    assert missing == {}, "add it to pyproject.toml and run `make lock`"
