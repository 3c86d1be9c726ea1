"""What was measured, as it stands in the card: rows, table, plot."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.scores import card_scores, plot_scores, scores_table, step_row

FIGURES = [
    {"kid_lite0": 0.10, "kid_lite0_resampled": 0.02, "precision_lite0": 0.5, "recall_lite0": 0.25, "memorised": 0.0},
    {"kid_lite0": 0.20, "kid_lite0_resampled": 0.04, "precision_lite0": 0.7, "recall_lite0": 0.25, "memorised": 0.01},
    {"kid_lite0": 0.30, "kid_lite0_resampled": 0.03, "precision_lite0": 0.6, "recall_lite0": 0.25, "memorised": 0.02},
]
PROTOCOL = {"images": 100, "seed_ranges": 3, "image_size": 64, "real_photos": 409, "train_photos": 6552}
PHOTOS = {"kid_lite0": 0.0012, "kid_lite0_resampled": 0.001, "precision_lite0": 0.8, "recall_lite0": 0.9}


def test_a_row_has_mean_spread_and_each_range() -> None:
    row = step_row(20, FIGURES)
    assert row["steps"] == 20
    assert row["kid_lite0"] == {"mean": 0.2, "spread": 0.1, "ranges": [0.1, 0.2, 0.3]}
    assert row["recall_lite0"] == {"mean": 0.25, "spread": 0.0, "ranges": [0.25, 0.25, 0.25]}


def test_one_range_has_no_spread() -> None:
    assert step_row(20, FIGURES[:1])["kid_lite0"] == {"mean": 0.1, "spread": None, "ranges": [0.1]}


def test_the_table_has_a_line_for_each_number_of_steps_and_one_for_the_photos() -> None:
    scores = card_scores(PROTOCOL, PHOTOS, [step_row(5, FIGURES[:1]), step_row(20, FIGURES)])
    assert scores_table(scores).splitlines()[:5] == [
        "| steps | KID, lite0 | precision, lite0 | recall, lite0 | memorised |",
        "|---|---|---|---|---|",
        "| 5 | 0.1000 | 0.5000 | 0.2500 | 0.0000 |",
        "| 20 | 0.2000 ± 0.1000 | 0.6000 ± 0.1000 | 0.2500 ± 0.0000 | 0.0100 ± 0.0100 |",
        "| photos | 0.0012 | 0.8000 | 0.9000 | |",
    ]
    assert "3 x 100 images" in scores_table(scores)
    assert "409 photos" in scores_table(scores)


def test_the_table_tells_the_samplers_apart() -> None:
    rows = [step_row(5, FIGURES[:1]), step_row(5, FIGURES[:1], "multistep")]
    lines = scores_table(card_scores(PROTOCOL, PHOTOS, rows)).splitlines()
    assert lines[2:4] == [
        "| 5 | 0.1000 | 0.5000 | 0.2500 | 0.0000 |",
        "| 5 multistep | 0.1000 | 0.5000 | 0.2500 | 0.0000 |",
    ]
    del rows[0]["sampler"]  # as in cards from before there was a choice
    assert scores_table(card_scores(PROTOCOL, PHOTOS, rows)).splitlines()[2] == lines[2]


@pytest.mark.parametrize("kinds", [1, 2])
def test_the_plot_has_a_panel_for_each_kind_of_features(tmp_path: Path, kinds: int) -> None:
    other = {"kid_inception75": 0.3} if kinds == 2 else {}
    rows = [
        step_row(steps, [{**figures, **other} for figures in FIGURES], sampler)
        for steps in (1, 4, 20)
        for sampler in ("ddim", "multistep")[: 1 + (steps > 1)]
    ]
    plot_scores(card_scores(PROTOCOL, {**PHOTOS, **other}, rows), tmp_path / "plots" / "scores.png")
    with Image.open(tmp_path / "plots" / "scores.png") as picture:
        assert picture.size == (540 * kinds, 432)
        assert len(np.unique(np.asarray(picture))) > 50, "it is empty"
