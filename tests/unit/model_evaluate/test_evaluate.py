"""``bouquet evaluate`` on a tiny bundle and made photos, with features that cost nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.bundle import load_bundle
from model.dataset import Pixels
from model.evaluate import main
from model.features import EXTRACTORS, FeatureError, FeatureExtractor
from model.kid import Features, kid
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle
from tests.unit.model_evaluate.photos import colours, made_photos, write_data

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def cheap_features(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> FeatureExtractor:
        raise FeatureError("not in this test")

    monkeypatch.setitem(EXTRACTORS, "lite0", lambda: colours)
    monkeypatch.setitem(EXTRACTORS, "inception75", none)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


@pytest.fixture(scope="module")
def flowers(bundle: Path) -> Pixels:
    """Seeds 0 to 23 at 2 steps."""
    return Sampler(load_bundle(bundle)).sample(range(24), 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "photos", made_photos(0, 12), made_photos(1, 10))


@pytest.fixture
def evaluated(bundle: Path, data: Path, capsys: Capture) -> Callable[..., dict[str, Any]]:
    """The scores that a run with further options prints."""

    def evaluated(*options: str, photos: Path = data) -> dict[str, Any]:
        common = [str(bundle), "--data", str(photos), "--images", "8", "--steps", "2", "--json"]
        assert main([*common, *options]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["content_hash"] == load_bundle(bundle).content_hash
        scores: dict[str, Any] = printed["scores"]
        return scores

    return evaluated


def test_three_ranges_of_seeds_are_scored_each_by_itself(
    evaluated: Callable[..., dict[str, Any]], flowers: Pixels
) -> None:
    (row,) = evaluated()["by_steps"]
    real = colours(made_photos(1, 10))
    expected = [kid(real, colours(flowers[start : start + 8])) for start in (0, 8, 16)]
    assert row["kid_lite0"]["ranges"] == [round(value, 5) for value in expected]
    assert row["kid_lite0"]["mean"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert row["kid_lite0"]["spread"] == pytest.approx(np.std(expected, ddof=1), abs=1e-5)
    assert row["memorised"]["mean"] == 0.0


def test_flowers_made_in_other_batches_score_the_same(evaluated: Callable[..., dict[str, Any]]) -> None:
    assert evaluated("--batch-size", "5")["by_steps"] == evaluated()["by_steps"]


def test_several_numbers_of_steps_are_scored_in_order(evaluated: Callable[..., dict[str, Any]]) -> None:
    scores = evaluated("--steps", "4,1,2", "--ranges", "1")
    assert [row["steps"] for row in scores["by_steps"]] == [1, 2, 4]
    assert len({row["kid_lite0"]["mean"] for row in scores["by_steps"]}) == 3


def test_both_samplers_are_scored_side_by_side(
    evaluated: Callable[..., dict[str, Any]], bundle: Path, tmp_path: Path
) -> None:
    scores = evaluated("--steps", "2,6", "--sampler", "multistep,ddim", "--ranges", "1", "--out", str(tmp_path))
    rows = scores["by_steps"]
    # At two steps there is nothing to tell them apart.
    assert [(row["steps"], row["sampler"]) for row in rows] == [(2, "ddim"), (6, "ddim"), (6, "multistep")]
    flowers = Sampler(load_bundle(bundle)).sample(range(8), 6, "multistep")
    assert rows[2]["kid_lite0"]["mean"] == round(kid(colours(made_photos(1, 10)), colours(flowers)), 5)
    assert rows[1]["kid_lite0"] != rows[2]["kid_lite0"]
    assert (tmp_path / "samples-0006-multistep.png").exists()


def test_how_it_was_measured_is_told(evaluated: Callable[..., dict[str, Any]]) -> None:
    protocol = evaluated("--size", "8")["protocol"]
    counts = {"images": 8, "seed_ranges": 3, "image_size": 8, "real_photos": 10, "train_photos": 12}
    assert protocol.items() >= counts.items()
    assert len(protocol["data_sha256"]) == 64


def test_flowers_that_were_trained_on_are_found(
    evaluated: Callable[..., dict[str, Any]], flowers: Pixels, tmp_path: Path
) -> None:
    train = np.concatenate([made_photos(0, 12), flowers[[1, 9]], flowers[[10], :, ::-1]])
    photos = write_data(tmp_path / "photos", train, made_photos(1, 10))
    (row,) = evaluated("--out", str(tmp_path / "out"), photos=photos)["by_steps"]
    assert row["memorised"]["ranges"] == [1 / 8, 2 / 8, 0.0]
    with Image.open(tmp_path / "out" / "nearest-0002.png") as picture:
        pairs = np.asarray(picture)
    np.testing.assert_array_equal(pairs[:16, :16], flowers[1])
    np.testing.assert_array_equal(pairs[:16, 16:32], flowers[1])
    np.testing.assert_array_equal(pairs[:16, 2 * 38 : 2 * 38 + 32], np.concatenate([flowers[10]] * 2, axis=1))


def test_pictures_go_to_the_folder(evaluated: Callable[..., dict[str, Any]], flowers: Pixels, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    evaluated("--out", str(folder), "--steps", "1,2")
    names = {"samples-0001.png", "samples-0002.png", "nearest-0001.png", "nearest-0002.png", "scores.png"}
    assert {path.name for path in folder.iterdir()} == names
    with Image.open(folder / "samples-0002.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture)[:16, 18:34], flowers[1])


def test_the_card_is_written_where_asked_for(data: Path, tmp_path: Path, capsys: Capture) -> None:
    path = make_tiny_bundle(tmp_path / "tiny.safetensors")
    before = path.read_bytes()
    arguments = [str(path), "--data", str(data), "--images", "8", "--steps", "1", "--json"]
    assert main(arguments) == 0
    assert path.read_bytes() == before
    capsys.readouterr()
    assert main([*arguments, "--update-card"]) == 0
    assert load_bundle(path).card.scores == json.loads(capsys.readouterr().out)["scores"]


def test_json_is_all_that_is_printed(evaluated: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def talkative() -> FeatureExtractor:
        print("Downloading data")
        return colours

    monkeypatch.setitem(EXTRACTORS, "lite0", talkative)
    assert evaluated("--features", "lite0")["by_steps"]


def test_people_get_a_table_and_progress(bundle: Path, data: Path, capsys: Capture) -> None:
    assert main([str(bundle), "--data", str(data), "--images", "8", "--steps", "1,2"]) == 0
    printed = capsys.readouterr()
    assert "| steps | KID, lite0 |" in printed.out
    assert "2 steps: kid_lite0" in printed.err
    assert "72.0/72.0" in printed.err  # image-steps: 3 ranges of 8, at 1 and at 2 steps
    assert "without inception75: not in this test" in printed.err


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--steps", "0", "each must be between 1 and 1000"),
        ("--steps", "1,1001", "each must be between 1 and 1000"),
        ("--steps", "few", "no list of whole numbers"),
        ("--steps", "1,,2", "no list of whole numbers"),
        ("--sampler", "heun", "'heun' is no list of ddim and multistep"),
        ("--images", "3", "--images must be at least 4"),
        ("--ranges", "0", "--ranges must be at least 1"),
        ("--batch-size", "0", "--batch-size must be at least 1"),
        ("--size", "0", "--size must be at least 1"),
        ("--features", "taste", "invalid choice"),
    ],
)
def test_bad_options_are_named(option: str, value: str, reason: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["any.safetensors", "--data", "any", option, value])
    assert reason in capsys.readouterr().err


def test_the_data_must_be_named(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["any.safetensors"])
    assert "--data" in capsys.readouterr().err


def failure(capsys: Capture, *arguments: str) -> str:
    assert main([*arguments, "--images", "8", "--steps", "1"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    reason = printed.err.splitlines()[-1]
    assert reason.startswith("bouquet evaluate: ")
    return reason


def test_no_bundle_is_a_clear_error(data: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "there is no such file" in failure(capsys, str(tmp_path / "nowhere"), "--data", str(data))


def test_no_photos_is_a_clear_error(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "there is no such folder" in failure(capsys, str(bundle), "--data", str(tmp_path / "nowhere"))


def test_too_few_photos_is_a_clear_error(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    photos = write_data(tmp_path / "photos", made_photos(0, 12), made_photos(1, 2))
    assert "2 validation photos; at least 4" in failure(capsys, str(bundle), "--data", str(photos))


def test_no_features_is_a_clear_error(bundle: Path, data: Path, capsys: Capture) -> None:
    reason = failure(capsys, str(bundle), "--data", str(data), "--features", "inception75")
    assert reason == "bouquet evaluate: not in this test"


def test_a_folder_that_cannot_be_written_is_a_clear_error(
    bundle: Path, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "file").write_text("in the way")
    reason = failure(capsys, str(bundle), "--data", str(data), "--out", str(tmp_path / "file" / "pictures"))
    assert str(tmp_path / "file") in reason


def test_ctrl_c_stops_it_and_writes_nothing(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_tiny_bundle(tmp_path / "tiny.safetensors")
    before = path.read_bytes()

    def interrupted(images: Pixels) -> Features:
        raise KeyboardInterrupt

    monkeypatch.setitem(EXTRACTORS, "lite0", lambda: interrupted)
    assert main([str(path), "--data", str(data), "--images", "8", "--update-card"]) == 130
    assert "stopped" in capsys.readouterr().err
    assert path.read_bytes() == before
