"""docs/settings.md lists every BOUQUET_* variable with its default, and none that does not exist."""

import importlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from tests.unit.project.tree import ROOT

PAGE = ROOT / "docs" / "settings.md"


@cache
def fields() -> dict[str, list[FieldInfo]]:
    """BOUQUET_NAME -> its field in each of the Settings classes that read it."""
    found: dict[str, list[FieldInfo]] = {}
    for module_name in ("app.settings", "worker.settings"):
        module = importlib.import_module(module_name)
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, BaseSettings) and value.__module__ == module_name
        ]
        assert classes, f"{module_name} defines no settings class"
        for settings_class in classes:
            prefix = settings_class.model_config["env_prefix"]
            for name, field in settings_class.model_fields.items():
                found.setdefault((prefix + name).upper(), []).append(field)
    return found


@cache
def rows() -> dict[str, list[str]]:
    """BOUQUET_NAME -> the other cells of its row in the page's tables."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| `")]
    names = [row[0].strip("`") for row in cells]
    assert len(names) == len(set(names)), "docs/settings.md has a setting twice"
    return {name: row[1:] for name, row in zip(names, cells, strict=True)}


def as_written(default: Any) -> str | None:
    """How the page writes a default; None where words say it."""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int | float | str | Path) and str(default):
        return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
    return None


def test_every_setting_is_documented() -> None:
    assert sorted(rows()) == sorted(fields())


def test_there_are_settings_to_document() -> None:
    assert {"BOUQUET_HOME", "BOUQUET_PORT", "BOUQUET_REDIS_URL"} <= fields().keys()


def test_the_documented_defaults_are_the_defaults() -> None:
    wrong = {}
    for name, variants in fields().items():
        documented = rows().get(name, [""])[0]
        written = {as_written(field.default) for field in variants}
        if len(written) > 1:
            wrong[name] = f"differs between the two settings.py: {written}"
        elif (default := written.pop()) is not None and documented != default:
            wrong[name] = f"{documented} should be {default}"
        elif not documented:
            wrong[name] = "say what happens where it is not set"
    assert wrong == {}


def test_every_setting_is_explained() -> None:
    assert [name for name, row in rows().items() if len(row[-1].split()) < 4] == []
    assert [name for name, variants in fields().items() if not all(field.description for field in variants)] == []
