"""The version is said in one place, and the changelog knows it."""

import re
from importlib import metadata

from tests.unit.project.tree import ROOT, pyproject


def changelog_versions() -> list[str]:
    return re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_changelogs_top_entry_is_the_version() -> None:
    assert changelog_versions()[0] == pyproject()["project"]["version"]


def test_the_installed_version_is_that_of_the_sources() -> None:
    assert metadata.version("bouquet") == pyproject()["project"]["version"]


def test_the_changelog_has_no_version_twice() -> None:
    versions = changelog_versions()
    assert len(versions) == len(set(versions))


def test_the_command_is_installed() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="bouquet")
    assert callable(command.load())
