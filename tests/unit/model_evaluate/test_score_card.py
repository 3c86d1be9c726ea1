"""Scores go into the bundle's card and leave everything else as it is."""

from pathlib import Path

import pytest

from model.bundle import BundleError, load_bundle
from model.model_card import write_model_card
from model.score_card import write_scores
from model.scores import card_scores, step_row
from tests.bundles import make_tiny_bundle
from tests.unit.model_evaluate.test_scores import FIGURES, PHOTOS, PROTOCOL

SCORES = card_scores(PROTOCOL, PHOTOS, [step_row(20, FIGURES)])


def test_the_card_has_the_scores_and_the_rest_is_as_it_was(tmp_path: Path) -> None:
    path = make_tiny_bundle(tmp_path / "bundle.safetensors")
    before = load_bundle(path)
    write_scores(path, before, SCORES)
    after = load_bundle(path)
    assert after.card.scores == SCORES
    assert after.description()["scores"] == SCORES
    assert after.content_hash == before.content_hash
    assert after.card.training_data == before.card.training_data
    assert after.card.recipe == before.card.recipe
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.safetensors"]


def test_the_text_beside_it_tells_them_too(tmp_path: Path) -> None:
    path = make_tiny_bundle(tmp_path / "bundle.safetensors")
    bundle = load_bundle(path)
    write_model_card(tmp_path, bundle, pictures=False)
    assert "Not measured yet" in (tmp_path / "MODEL_CARD.md").read_text()
    write_scores(path, bundle, SCORES)
    text = (tmp_path / "MODEL_CARD.md").read_text()
    assert "| 20 | 0.2000 ± 0.1000 |" in text
    assert "Not measured yet" not in text
    assert "samples.png" not in text, "there is no such picture here"


def test_the_text_of_another_bundle_is_left_alone(tmp_path: Path) -> None:
    path = make_tiny_bundle(tmp_path / "bundle.safetensors")
    (tmp_path / "MODEL_CARD.md").write_text("of another one")
    write_scores(path, load_bundle(path), SCORES)
    assert (tmp_path / "MODEL_CARD.md").read_text() == "of another one"


def test_a_bundle_that_was_trained_anew_meanwhile_does_not_get_them(tmp_path: Path) -> None:
    path = make_tiny_bundle(tmp_path / "bundle.safetensors")
    measured = load_bundle(path)
    make_tiny_bundle(path, seed=1)
    with pytest.raises(BundleError, match="another bundle was written there meanwhile"):
        write_scores(path, measured, SCORES)
    assert load_bundle(path).card.scores == {}
