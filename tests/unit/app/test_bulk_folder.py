"""A folder that many images go to: what counts as there, whenever the run before was broken off."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from app.bulk_folder import CSV_NAME, BulkFolder
from app.command_error import CommandError
from app.schemas import Image
from worker.protocol import ImageAddress


def add(folder: BulkFolder, seed: int, png: bytes = b"flower") -> str:
    address = ImageAddress("0123456789ab", seed, 20)
    image = Image(
        seed=seed, url=f"/images/{address.name}", width=8, height=8, bytes=len(png), sha256="0" * 64, kind="rose"
    )
    folder.add(address, image, png)
    return address.name


def test_what_was_added_is_there_for_the_next_run(tmp_path: Path) -> None:
    with BulkFolder(tmp_path / "new" / "folder") as folder:
        names = [add(folder, seed) for seed in (1, 2)]
    with BulkFolder(tmp_path / "new" / "folder") as folder:
        assert all(map(folder.has, names))
        names.append(add(folder, 3))
        assert folder.read(names[0]) == b"flower"
    with (tmp_path / "new" / "folder" / CSV_NAME).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["file"] for line in lines] == names
    assert lines[0] == {
        "file": "0123456789ab-1-20.png",
        "seed": "1",
        "steps": "20",
        "sampler": "ddim",
        "kind": "rose",
        "revision": "0123456789ab",
        "width": "8",
        "height": "8",
        "bytes": "6",
        "sha256": "0" * 64,
    }


def test_what_is_not_whole_is_not_there(tmp_path: Path) -> None:
    with BulkFolder(tmp_path) as folder:
        names = [add(folder, seed) for seed in range(5)]
    (tmp_path / names[0]).unlink()
    (tmp_path / names[1]).write_bytes(b"flow")
    (tmp_path / "0123456789ab-99-20.png").write_bytes(b"not in the list")
    lines = (tmp_path / CSV_NAME).read_bytes()
    (tmp_path / CSV_NAME).write_bytes(lines[:-40])  # the last line is torn
    with BulkFolder(tmp_path) as folder:
        there = [name for name in names if folder.has(name)]
        assert there == names[2:4]
        assert not folder.has("0123456789ab-99-20.png")
        assert not folder.has("0123456789ab-100-20.png")
        add(folder, 4)
    assert (tmp_path / CSV_NAME).read_text().count("\n") == 1 + 3


@pytest.mark.parametrize("content", [b"\0\xff\xfe", b"a,b\n", b",,,,,,,,\n", b'"', b"x" * 200_000])
def test_a_list_that_is_none_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CSV_NAME).write_bytes(content)
    with BulkFolder(tmp_path) as folder:
        assert folder.has(add(folder, 1))


def test_all_of_it_can_be_removed_but_not_what_is_others(tmp_path: Path) -> None:
    for other in (None, "a letter"):
        place = tmp_path / "folder"
        with BulkFolder(place) as folder:
            name = add(folder, 1)
            if other:
                (place / other).touch()
            folder.remove([name])
        assert place.exists() == bool(other)


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="--out"), BulkFolder(tmp_path / "file"):
        pass
