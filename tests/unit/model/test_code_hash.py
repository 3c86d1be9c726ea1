from pathlib import Path

from model.code_hash import code_fingerprint


def test_it_is_of_names_and_text_but_not_of_line_ends(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\n")
    first = code_fingerprint(tmp_path)
    assert len(first) == 64
    (tmp_path / "notes.txt").write_text("no code")
    (tmp_path / "a.py").write_bytes(b"x = 1\r\n")
    assert code_fingerprint(tmp_path) == first
    (tmp_path / "a.py").write_bytes(b"x = 2\n")
    changed = code_fingerprint(tmp_path)
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, changed, code_fingerprint(tmp_path)}) == 3


def test_without_a_folder_it_is_of_the_model() -> None:
    import model

    assert code_fingerprint() == code_fingerprint(Path(next(iter(model.__path__))))
