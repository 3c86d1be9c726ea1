"""Rows and batches: the very bits of a row's images, whatever the batch, the row's place in it and the network."""

import keras
import numpy as np
import pytest
from keras import ops

from model.bundle import Bundle, Card
from model.config import NetworkConfig
from model.guidance import Guidance
from model.network import build_network
from model.noise import starting_noise
from model.normaliser import Normaliser
from model.sampling import Sampler
from model.schedule import Schedule

SIZE, MOST = 16, 36
NETWORKS = {
    "as the reference": (NetworkConfig((8, 16), 1), "float32"),
    "wide, told in blocks, of patches": (NetworkConfig((32, 48), 1, patch_size=2, embed_in_blocks=True), "float32"),
    "with attention": (
        NetworkConfig((16, 48), 1, embed_in_blocks=True, attention_levels=2, head_width=16, prediction="velocity"),
        "float32",
    ),
    "with attention, in bfloat16": (NetworkConfig((16, 32), 1, attention_levels=1, head_width=16), "mixed_bfloat16"),
    "told of classes, guided": (NetworkConfig((16, 48), 1, patch_size=2, embed_in_blocks=True, classes=5), "float32"),
    "in bfloat16": (NetworkConfig((16,), 1, patch_size=2, embed_in_blocks=True), "mixed_bfloat16"),
}


@pytest.fixture(scope="module", params=NETWORKS)
def sampler(request):
    config, precision = NETWORKS[request.param]
    network = build_network(config, SIZE, precision, seed=None)
    random = np.random.default_rng(0)
    for variable in network.trainable_variables:
        scale = 1.0 / np.sqrt(np.prod(variable.shape[:-1])) if len(variable.shape) > 1 else 0.1
        variable.assign(random.normal(0.0, scale, variable.shape))
    return Sampler(
        Bundle(
            name="random",
            network_config=config,
            schedule=Schedule(),
            normaliser=Normaliser(np.zeros(3, np.float32), np.ones(3, np.float32)),
            image_size=SIZE,
            precision=precision,
            network=network,
            content_hash="",
            card=Card(),
            class_names=tuple("abcde"[: config.classes]),
            class_counts=(3,) * config.classes,
            guidance=Guidance.parse("1.5,1.2:0.5,1.3:0.4:0.9,1.2:4"),
        )
    )


IMAGES = np.stack([starting_noise(seed, SIZE) for seed in range(MOST)])
LAST_IMAGES = IMAGES[::-1] * 0.5
# Each row at another point of a trajectory, and every other one by the other sampler: [1, MOST, 5].
RATES = np.stack([Schedule().step_rates(MOST, ("ddim", "multistep")[row % 2])[row] for row in range(MOST)])[None]


def told(sampler, rates):
    """The rates with class weights behind, where the network has classes; between two classes on some rows."""
    weights = np.random.default_rng(1).dirichlet((0.3,) * 5, MOST).astype(np.float32)
    return np.concatenate([rates, weights[None, :, : sampler.bundle.network_config.classes]], axis=2)


def advanced(sampler, rows):
    """Both outputs for these of the images: float32 [2, rows, s, s, 3]."""
    rows = list(rows)
    images = sampler.advance(IMAGES[rows], LAST_IMAGES[rows], told(sampler, RATES)[:, rows])
    return np.stack([ops.convert_to_numpy(part) for part in images])


@pytest.fixture(scope="module")
def alone(sampler):
    return {row: advanced(sampler, [row])[:, 0] for row in (0, 1, 7, 31)}


@pytest.mark.parametrize("count", [2, 3, 5, 8, 16, 32])
def test_a_row_has_the_same_bits_in_every_batch_at_every_place(sampler, alone, count):
    others = [row for row in range(MOST) if row not in alone]
    for place in sorted({0, 1, count // 2, count - 1}):
        for row, expected in alone.items():
            rows = others[: count - 1]
            rows.insert(place, row)
            np.testing.assert_array_equal(advanced(sampler, rows)[:, place], expected)


def test_rows_that_share_a_call_of_fixed_size_have_their_own_results(sampler, alone, monkeypatch):
    monkeypatch.setattr(sampler, "_rows_at_once", 4)
    for rows in ([0, 1, 7, 31, 2, 3], [31], [7, 0, 1, 31]):
        images = advanced(sampler, rows)
        assert images.shape == (2, len(rows), SIZE, SIZE, 3)
        for place, row in enumerate(rows):
            if row in alone:
                np.testing.assert_allclose(images[:, place], alone[row], atol=0.01 * np.abs(alone[row]).max())


def test_a_batch_that_is_on_the_device_may_stay_there(sampler, alone):
    on_device = [ops.convert_to_tensor(images[[0, 7]]) for images in (IMAGES, LAST_IMAGES)]
    noisy, _ = sampler.advance(*on_device, told(sampler, RATES)[:, [0, 7]])
    assert keras.ops.is_tensor(noisy)
    np.testing.assert_array_equal(ops.convert_to_numpy(noisy)[1], alone[7][0])
