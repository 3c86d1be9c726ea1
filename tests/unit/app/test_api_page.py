"""docs/api.md tells of every code and every route, and of none that does not exist."""

import re
from pathlib import Path

from app.errors import ProblemCode
from app.main import create_app
from app.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")


def test_every_code_is_listed_with_its_status() -> None:
    table = PAGE[PAGE.index("| status | codes |") :].split("\n\n")[0]
    listed = {
        (int(status), code)
        for status, cell in re.findall(r"^\| (\d{3}) \| (.*) \|$", table, re.MULTILINE)
        for code in re.findall(r"`([a-z-]+)`", cell)
    }
    assert listed == {(code.status, code.code) for code in ProblemCode}


def test_every_route_has_its_chapter(tmp_path: Path) -> None:
    headings = " ".join(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))
    for path, operations in create_app(Settings(home=tmp_path)).openapi()["paths"].items():
        stem = path.split("{")[0]
        for method in operations:
            assert re.search(rf"{method.upper()} {re.escape(stem)}", headings), f"{method} {path}"
