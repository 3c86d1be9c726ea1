import stat
from pathlib import Path

import pytest

from app.home import HomeError, prepare_home


def test_a_home_is_made_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = prepare_home(Path("deep/home"))
    assert home == tmp_path / "deep" / "home"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert prepare_home(home) == home
    assert not list(home.iterdir())


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(HomeError, match=r"--home .*/home cannot be written to .*BOUQUET_HOME"):
        prepare_home(tmp_path / "home")
