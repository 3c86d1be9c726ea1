"""A flower is a function of (bundle, seed, steps, sampler): bit for bit, whatever shares its batch."""

import ctypes
import dataclasses
import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from model.backend import compile_function
from model.bundle import load_bundle
from model.config import NetworkConfig
from model.diffusion import denoise, mix
from model.network import build_network
from model.noise import starting_noise
from model.sampling import Sampler
from model.schedule import Rates
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
    plans = [(3, 2, "ddim"), (4, 5, "multistep"), (5, 9, "ddim"), (6, 5, "ddim"), (6, 5, "multistep")]
    images = np.stack([starting_noise(seed, 16) for seed, _, _ in plans])
    predicted = np.zeros_like(images)
    tables = [sampler.bundle.schedule.step_rates(steps, kind) for _, steps, kind in plans]
    finished = {}
    for position in range(9):
        # A row that is done goes round again: whatever it does must not show in the others.
        rates = np.stack([table[position % len(table)] for table in tables])[None]
        images, predicted = sampler.advance(images, predicted, rates)
        for row, (seed, steps, kind) in enumerate(plans):
            if position + 1 == steps:
                finished[seed, steps, kind] = sampler.to_uint8(predicted)[row]
    for seed, steps, kind in plans:
        np.testing.assert_array_equal(finished[seed, steps, kind], sampler.sample([seed], steps, kind)[0])


@pytest.mark.parametrize(("steps", "same"), [(1, True), (3, True), (4, False), (20, False)])
def test_the_multistep_sampler_gives_other_pixels_from_four_steps_on(sampler, steps, same):
    images = [sampler.sample([7], steps, kind) for kind in ("ddim", "multistep")]
    assert np.array_equal(*images) == same


def test_ddim_beside_multisteps_has_the_bits_of_plain_ddim(sampler):
    """Held to the formula of DDIM without any correction, compiled by itself."""
    bundle = sampler.bundle

    def network(inputs):
        return bundle.network(inputs, training=False)

    def plain(images, rates):
        signal, noise, next_signal, next_noise = (ops.reshape(rates[:, column], (-1, 1, 1, 1)) for column in range(4))
        noises, images = denoise(network, images, Rates(signal, noise))
        return mix(images, noises, Rates(next_signal, next_noise))

    seeds = (1, 2)
    images = expected = np.stack([starting_noise(seed, 16) for seed in seeds])
    predicted = np.zeros_like(images)
    compiled = compile_function(plain)
    tables = [bundle.schedule.step_rates(8, kind) for kind in ("ddim", "multistep")]
    for rates in np.stack(tables, axis=1):
        images, predicted = sampler.advance(images, predicted, rates[None])
        expected = compiled(ops.convert_to_tensor(expected), ops.convert_to_tensor(rates))
    np.testing.assert_array_equal(ops.convert_to_numpy(images)[0], ops.convert_to_numpy(expected)[0])
    assert not np.array_equal(ops.convert_to_numpy(images)[1], ops.convert_to_numpy(expected)[1])


@pytest.mark.parametrize("on_device", [False, True])
def test_many_steps_in_a_call_are_many_calls(sampler, monkeypatch, on_device):
    monkeypatch.setattr(sampler, "_loops_on_device", on_device)
    images = np.stack([starting_noise(seed, 16) for seed in (1, 2)])
    predicted = np.zeros_like(images)
    rates = np.repeat(sampler.bundle.schedule.step_rates(4, "multistep")[:, None], 2, axis=1)
    together = sampler.advance(images, predicted, rates)
    for step in rates:
        images, predicted = sampler.advance(images, predicted, step[None])
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


def resident() -> int:
    """Bytes of this process in memory, once all that can be given back has been."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux' /proc and glibc")
def test_samplers_that_come_and_go_leave_no_weights_behind(sampler):
    """As in a training, which has two for each epoch."""
    network_config = NetworkConfig(widths=(32, 64, 96, 640), block_depth=1)
    network = build_network(network_config, 16, "float32", seed=None)
    bundle = dataclasses.replace(sampler.bundle, network_config=network_config, network=network)
    size = 4 * network.count_params()
    Sampler(bundle, exact=False).sample([7], 1)
    before = resident()
    for _ in range(3):
        Sampler(bundle, exact=False).sample([7], 1)
    assert resident() - before < 2 * size
