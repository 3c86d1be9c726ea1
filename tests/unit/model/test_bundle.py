"""The bundle: a whole round trip, and nothing damaged or foreign gets in."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops
from safetensors.numpy import save_file

from model.bundle import Bundle, BundleError, Card, default_bundle_path, load_bundle, replace_card, save_bundle
from model.classes import class_of
from model.guidance import Guidance
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")


def changed(path: Path, tmp_path: Path, change) -> Path:
    content = bytearray(path.read_bytes())
    result = change(content)
    content = content if result is None else result
    copy = tmp_path / "changed.safetensors"
    copy.write_bytes(content)
    return copy


def save_again(bundle: Bundle, path: Path, **changes) -> str:
    names = ("name", "network", "network_config", "schedule", "normaliser", "image_size", "precision", "card")
    names += ("class_names", "class_counts", "guidance")
    fields = {name: getattr(bundle, name) for name in names}
    return save_bundle(path, **{**fields, **changes})


def test_everything_comes_back(path, tmp_path):
    bundle = load_bundle(path)
    again = tmp_path / "again.safetensors"
    assert save_again(bundle, again) == bundle.content_hash
    other = load_bundle(again)
    assert (other.network_config, other.schedule, other.card) == (bundle.network_config, bundle.schedule, bundle.card)
    np.testing.assert_array_equal(other.pixel_mean, bundle.pixel_mean)
    np.testing.assert_array_equal(other.pixel_std, bundle.pixel_std)
    for one, two in zip(bundle.network.variables, other.network.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one.value), ops.convert_to_numpy(two.value))
    np.testing.assert_array_equal(Sampler(bundle).sample([7], 3), Sampler(other).sample([7], 3))


def test_the_bundle_that_ships_and_was_written_first_still_has_its_hash(tmp_path):
    bundle = load_bundle(default_bundle_path())
    assert save_again(bundle, tmp_path / "again.safetensors") == bundle.content_hash


def test_a_bundle_says_what_its_network_predicts(path, tmp_path):
    bundle = load_bundle(path)
    config = dataclasses.replace(bundle.network_config, prediction="velocity")
    assert save_again(bundle, tmp_path / "other.safetensors", network_config=config) != bundle.content_hash
    other = load_bundle(tmp_path / "other.safetensors")
    assert other.network_config.prediction == "velocity"
    assert other.description()["network"]["prediction"] == "velocity"
    assert (Sampler(bundle).sample([7], 3) != Sampler(other).sample([7], 3)).any()


def test_a_bundle_knows_its_classes_and_its_guidance(tmp_path):
    bundle = load_bundle(make_tiny_bundle(tmp_path / "tiny.safetensors", classes=3))
    assert (bundle.class_names, bundle.class_counts) == (("kind 0", "kind 1", "kind 2"), (1, 2, 3))
    assert json.loads(json.dumps(bundle.description()))["classes"] == ["kind 0", "kind 1", "kind 2"]
    flower = Sampler(bundle).sample([7], 3)
    for change in ({"guidance": Guidance(3.0)}, {"class_counts": (9, 0, 0)}, {"class_counts": (0, 0, 9)}):
        assert save_again(bundle, tmp_path / "other.safetensors", **change) != bundle.content_hash
        other = load_bundle(tmp_path / "other.safetensors")
        if class_of(7, other.class_counts) != class_of(7, bundle.class_counts) or "guidance" in change:
            assert (Sampler(other).sample([7], 3) != flower).any()
    assert save_again(bundle, tmp_path / "same.safetensors") == bundle.content_hash


def test_a_bundle_without_counts_for_its_classes_is_refused(tmp_path):
    bundle = load_bundle(make_tiny_bundle(tmp_path / "tiny.safetensors", classes=3))
    save_again(bundle, tmp_path / "other.safetensors", class_counts=(1, 2))
    with pytest.raises(BundleError, match="classes"):
        load_bundle(tmp_path / "other.safetensors")


def test_the_description_is_json_and_names_the_revision(path):
    bundle = load_bundle(path)
    description = json.loads(json.dumps(bundle.description()))
    assert description["revision"] == bundle.content_hash[:12] == bundle.revision
    assert description["image_size"] == 16
    assert description["parameters"] == bundle.network.count_params()


@pytest.mark.parametrize("change", ["name", "schedule", "normaliser", "precision"])
def test_whatever_makes_the_pixels_changes_the_hash(path, tmp_path, change):
    bundle = load_bundle(path)
    changes = {
        "name": "other",
        "schedule": dataclasses.replace(bundle.schedule, min_signal_rate=0.5),
        "normaliser": dataclasses.replace(bundle.normaliser, mean=np.zeros(3, np.float32)),
        "precision": "mixed_bfloat16",
    }
    other = save_again(bundle, tmp_path / "other.safetensors", **{change: changes[change]})
    assert other != bundle.content_hash


def test_another_card_leaves_the_hash_alone(path, tmp_path):
    copy = changed(path, tmp_path, lambda content: content)
    replace_card(copy, Card(scores={"kid": 0.1}))
    bundle = load_bundle(copy)
    assert bundle.content_hash == load_bundle(path).content_hash
    assert bundle.card.scores == {"kid": 0.1}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"nowhere.*no such file.*BOUQUET_BUNDLE"):
        load_bundle(tmp_path / "nowhere")


def test_a_file_that_may_not_be_read_is_named(path, tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")  # as root, no file forbids itself

    monkeypatch.setattr("model.bundle.safe_open", forbidden)
    with pytest.raises(BundleError, match=rf"{path}.*Permission denied"):
        load_bundle(path)


def test_every_refusal_names_the_file(path, tmp_path):
    for length in (0, 5, 300, 5000):
        cut = changed(path, tmp_path, lambda content, length=length: content[:length])
        with pytest.raises(BundleError, match=str(cut)):
            load_bundle(cut)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_one_is_refused(path, tmp_path, share):
    cut = changed(path, tmp_path, lambda content: content[: int(share * len(content))])
    with pytest.raises(BundleError, match="truncated"):
        load_bundle(cut)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(1000), b"{}" * 300])
def test_what_is_no_bundle_at_all_is_refused(tmp_path, content):
    other = tmp_path / "other"
    other.write_bytes(content)
    with pytest.raises(BundleError, match="not a bundle"):
        load_bundle(other)


def test_other_safetensors_are_refused(tmp_path):
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(BundleError, match="no Bouquet bundle"):
        load_bundle(tmp_path / "other.safetensors")


@pytest.mark.parametrize("position", [0.3, 0.6, 0.9999])
def test_a_flipped_bit_in_the_weights_is_found(path, tmp_path, position):
    def flip(content):
        content[int(position * (len(content) - 1))] ^= 1

    with pytest.raises(BundleError, match="hash"):
        load_bundle(changed(path, tmp_path, flip))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'image_size\\":16', b'image_size\\":32', "content does not match its hash"),
        (b"random weights for tests", b"the finest photos, truly", "card does not match its hash"),
        (b'"version":"1"', b'"version":"2"', "version 2"),
        (b'"card_hash"', b'"card_hush"', "incomplete"),
    ],
)
def test_changed_metadata_are_found(path, tmp_path, before, after, reason):
    assert len(before) == len(after)
    with pytest.raises(BundleError, match=reason):
        load_bundle(changed(path, tmp_path, lambda content: content.replace(before, after)))


def test_a_failed_save_leaves_what_was_there(path, tmp_path, monkeypatch):
    copy = changed(path, tmp_path, lambda content: content)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_card(copy, Card())
    assert copy.read_bytes() == path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == [copy.name]


def test_it_loads_without_the_training_code_and_what_serving_does_not_need(path):
    code = (
        "import sys; from model.bundle import load_bundle; from model.sampling import Sampler;"
        f"Sampler(load_bundle({str(path)!r})).sample([1], 1);"
        "print([name for name in sys.modules if name in "
        "('model.trainer', 'model.train', 'model.run', 'model.dataset', 'tensorboard', 'tqdm', 'matplotlib', "
        f"{'jax' if keras.backend.backend() == 'tensorflow' else 'tensorflow'!r})])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
