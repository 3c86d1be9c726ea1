"""What a run leaves to look at: grid, history, drawings, card."""

import csv
import importlib.util

import numpy as np
import pytest
from PIL import Image

from model.bundle import load_bundle
from model.config import PRESETS, NetworkConfig
from model.grid import image_grid
from model.history import EpochRow, History
from model.model_card import model_card
from model.network_plot import plot_network
from tests.bundles import make_tiny_bundle

needs_training_extra = pytest.mark.skipif(
    importlib.util.find_spec("matplotlib") is None, reason="needs the extra `train`"
)


def row(epoch, size=64):
    return EpochRow(epoch, 10 * epoch, 640 * epoch, 1.5, size, 1e-3, 0.5 / epoch, 0.6 / epoch, 0.7 / epoch, 0.8 / epoch)


def test_a_grid_shows_every_image_in_its_place():
    images = np.stack([np.full((4, 6, 3), 10 * k, np.uint8) for k in range(5)])
    grid = np.asarray(image_grid(images, columns=3, gap=2))
    assert grid.shape == (10, 22, 3)
    for k in range(5):
        top, left = k // 3 * 6, k % 3 * 8
        np.testing.assert_array_equal(grid[top : top + 4, left : left + 6], images[k])
    assert (grid[6:, 16:] == 255).all()


def test_the_history_is_written_whole_each_time(tmp_path):
    history = History(tmp_path, [])
    for epoch in (1, 2):
        history.add(row(epoch))
        history.write_csv()
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(each["noise_loss"]) for each in rows] == [0.5, 0.25]
    assert History(tmp_path, history.to_json()).rows == history.rows


@needs_training_extra
def test_scalars_can_be_read_by_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = History(tmp_path, [])
    for epoch in (1, 2):
        history.add(row(epoch))
        history.write_scalars()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    scalars = [(event.step, event.tensor_proto) for event in events.Tensors("noise_loss")]
    assert [step for step, _ in scalars] == [10, 20]


@needs_training_extra
def test_the_plots_are_pictures(tmp_path):
    history = History(tmp_path, [])
    for epoch, size in ((1, 32), (2, 32), (3, 64)):
        history.add(row(epoch, size))
    history.plot()
    plot_network(PRESETS["flowers64"].network, 64, tmp_path / "model.png")
    plot_network(NetworkConfig((8, 16), 1, 8, patch_size=2, embed_in_blocks=True), 64, tmp_path / "other.png")
    for name in ("loss.png", "model.png", "other.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 800
            assert len(picture.convert("RGB").getcolors(10**6)) > 50


def test_the_card_tells_the_kinds_of_flowers_and_the_guidance(tmp_path):
    card = model_card(load_bundle(make_tiny_bundle(tmp_path / "tiny.safetensors", classes=3)), pictures=False)
    assert "kind 0 (1), kind 1 (2), kind 2 (3)." in card
    assert "Guidance: weight 1.5, early_weight 1.2, early_until 0.8, overstated_noise 1.2, " in card
    assert "overstated_from 0.7, overstated_until 0.95, coarse_weight 1.3, coarse_cells 8." in card


def test_the_card_tells_what_it_is_and_where_from(tmp_path):
    bundle = load_bundle(make_tiny_bundle(tmp_path / "tiny.safetensors"))
    card = model_card(bundle, pictures=False)
    assert bundle.content_hash in card
    assert "random weights for tests" in card
    assert "Not measured yet" in card
    assert "samples.png" not in card
