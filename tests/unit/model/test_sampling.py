"""A flower is a function of (bundle, seed, steps): bit for bit, whatever shares its batch."""

import numpy as np
import pytest
from keras import ops

from model.bundle import load_bundle
from model.noise import starting_noise
from model.sampling import Sampler
from tests.bundles import make_tiny_bundle

STEPS = 6


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    return Sampler(load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors")))


@pytest.fixture(scope="module")
def alone(sampler):
    return {seed: sampler.sample([seed], STEPS)[0] for seed in range(20)}


def test_pictures_are_pixels_and_differ(alone):
    assert alone[0].shape == (16, 16, 3)
    assert alone[0].dtype == np.uint8
    assert len({pixels.tobytes() for pixels in alone.values()}) == len(alone)
    assert 10.0 < alone[0].std() < 120.0


@pytest.mark.parametrize("count", [2, 3, 5, 8, 16])
def test_the_same_bits_in_a_batch_of_any_size_at_every_place(sampler, alone, count):
    for start in range(0, 20 - count + 1, count):
        seeds = range(start, start + count)
        for seed, pixels in zip(seeds, sampler.sample(seeds, STEPS), strict=True):
            np.testing.assert_array_equal(pixels, alone[seed])


def test_rows_at_different_points_of_different_trajectories_share_a_call(sampler):
    plans = [(3, 2), (4, 5), (5, 9), (6, 5)]  # seed, steps
    images = np.stack([starting_noise(seed, 16) for seed, _ in plans])
    tables = [sampler.bundle.schedule.step_rates(steps) for _, steps in plans]
    finished = {}
    for position in range(9):
        # A row that is done goes round again: whatever it does must not show in the others.
        rates = np.stack([table[position % len(table)] for table in tables])[None]
        images, predicted = sampler.advance(images, rates)
        for row, (seed, steps) in enumerate(plans):
            if position + 1 == steps:
                finished[seed, steps] = sampler.to_uint8(predicted)[row]
    for seed, steps in plans:
        np.testing.assert_array_equal(finished[seed, steps], sampler.sample([seed], steps)[0])


@pytest.mark.parametrize("on_device", [False, True])
def test_many_steps_in_a_call_are_many_calls(sampler, monkeypatch, on_device):
    monkeypatch.setattr(sampler, "_loops_on_device", on_device)
    images = np.stack([starting_noise(seed, 16) for seed in (1, 2)])
    rates = np.repeat(sampler.bundle.schedule.step_rates(4)[:, None], 2, axis=1)
    together = sampler.advance(images, rates)
    for step in rates:
        images, predicted = sampler.advance(images, step[None])
    for one, other in zip(together, (images, predicted), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


def test_pixels_are_clipped_and_rounded_to_the_nearest(sampler):
    normaliser = sampler.bundle.normaliser
    values = np.array([-1.0, 0.0, 100.4 / 255.0, 100.6 / 255.0, 1.0, 2.0], np.float32)
    images = normaliser.normalise(np.repeat(values[:, None, None, None], 3, axis=3))
    np.testing.assert_array_equal(
        sampler.to_uint8(images)[:, 0, 0], np.repeat([[0], [0], [100], [101], [255], [255]], 3, 1)
    )


@pytest.mark.parametrize("steps", [1, 1000])
def test_the_ends_of_the_range_of_steps(sampler, steps):
    assert sampler.sample([1], steps).shape == (1, 16, 16, 3)
