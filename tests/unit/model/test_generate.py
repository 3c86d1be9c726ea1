"""``bouquet generate`` in this process: the very pixels of the sampler, in the files that were asked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.bundle import load_bundle
from model.generate import main
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


@pytest.mark.parametrize("kind", ["ddim", "multistep"])
def test_flowers_go_to_files_of_their_own(bundle: Path, tmp_path: Path, kind: str) -> None:
    options = f"--steps 6 --seed 5 --count 2 --sampler {kind} -o {tmp_path}/a/flower.png --bundle {bundle}"
    assert main(options.split()) == 0
    sampler = Sampler(load_bundle(bundle))
    for seed in (5, 6):
        with Image.open(tmp_path / "a" / f"flower-{seed}.png") as image:
            expected = sampler.sample([seed], 6, "multistep" if kind == "multistep" else "ddim")[0]
            np.testing.assert_array_equal(np.asarray(image), expected)


def test_a_kind_is_made_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = make_tiny_bundle(tmp_path / "tiny.safetensors", classes=3)
    output = tmp_path / "flower.png"
    options = ["--steps", "6", "--seed", "5", "-o", str(output), "--bundle", str(bundle), "--kind"]
    sampler, seen = Sampler(load_bundle(bundle)), set()
    for kind in ("kind 0", "kind 1", "kind 2"):
        assert main([*options, kind]) == 0
        with Image.open(output) as image:
            np.testing.assert_array_equal(np.asarray(image), sampler.sample([5], 6, "ddim", kind)[0])
            seen.add(image.tobytes())
    assert len(seen) == 3
    assert main([*options, "kind 9"]) == 1
    assert "knows no 'kind 9'; did you mean 'kind " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--steps", "0", "--steps must be between 1 and 1000"),
        ("--steps", "1001", "--steps must be between 1 and 1000"),
        ("--count", "0", "--count must be at least 1"),
        ("--seed", "-1", "--seed must be between 0 and 9007199254740991"),
        ("--sampler", "heun", "invalid choice: 'heun'"),
    ],
)
def test_bad_options_are_named(option: str, value: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"{option}={value}"])
    assert reason in capsys.readouterr().err


def test_a_bundle_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bundle", str(tmp_path / "nowhere"), "-o", str(tmp_path / "flower.png")]) == 1
    assert "there is no such file" in capsys.readouterr().err
