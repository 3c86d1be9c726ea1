"""What is wrong with a wish for many images is told before anything is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli import main
from app.client import AsyncClient
from app.schemas import ModelDescription


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("x" * 101, "--kind is too long: 101 characters as it is spelt, and 100 may be."),
        ("ro\nse", "--kind must be a name in printable characters."),
        ("ro\udcffse", "--kind must be a name in printable characters."),
        (" ", "--kind must be a name in printable characters."),
    ],
)
def test_a_kind_that_none_can_be_is_told_in_a_line(
    kind: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def model(_: AsyncClient) -> ModelDescription:
        return ModelDescription(name="n", content_hash="0" * 64, revision="0" * 12, image_size=8)

    monkeypatch.setattr(AsyncClient, "model", model)
    out = tmp_path / "flowers"
    assert main(["generate", "--server", "http://garden", "--out", str(out), "--kind", kind]) == 1
    assert capsys.readouterr() == ("", f"bouquet generate: {complaint}\n")
    assert not out.exists()
