"""Noise between two seeds: the golden values that the addresses of morphs rest on, and that it is noise."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import slerp as module
from model.noise import MAX_SEED, noise_between, starting_noise
from model.slerp import slerp

# SHA-256 over the little-endian float32 values. A change of any of these changes every morph there is: never do.
GOLDEN = {
    (7, 8, 1, 2, 64): "0499132b5b9bdc8d79eeb0394c6d45d879bc7a085b84693f82b8f19552e02a7c",
    (7, 8, 1, 5, 64): "69f6b065d1e8249ff936cbcd3199065481a9cf3930620735614b09aedbc2dd10",
    (0, MAX_SEED, 7, 15, 64): "20114f9fb71e8b222c9849d49a8fcfe8981e0271f5cfbb216afd6cc572200f87",
    (3, 12345, 62, 63, 16): "5bd0cfceee7a8eebc8f062185d43323ec2a1f35e6d3994040170e23c3480ca03",
    (1, 2, 1, 3, 1): "064e31b0c743afd0ef2bc105280cbe0a9559f4026ed02060ed32356ea095cf05",
}


@pytest.mark.parametrize("way", GOLDEN)
def test_the_values_are_those_they_have_always_been(way):
    values = noise_between(*way)
    assert values.shape == (way[-1], way[-1], 3)
    assert values.dtype == np.float32
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == GOLDEN[way]


def test_the_ends_are_the_seeds_own():
    for part, seed in ((0, 7), (15, 8)):
        assert noise_between(7, 8, part, 15, 16).tobytes() == starting_noise(seed, 16).tobytes()


@pytest.mark.parametrize("part", [1, 4, 7, 11, 14])
def test_the_way_back_has_the_same_points(part):
    there, back = noise_between(7, 80, part, 15, 16), noise_between(80, 7, 15 - part, 15, 16)
    assert there.tobytes() == back.tobytes()


def test_it_is_the_formula_of_the_papers():
    start, end = starting_noise(11, 16), starting_noise(12, 16)
    a, b = start.astype(np.float64).ravel(), end.astype(np.float64).ravel()
    angle = math.acos(a @ b / math.sqrt((a @ a) * (b @ b)))
    for part in range(1, 10):
        t = part / 10
        expected = (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)
        np.testing.assert_allclose(slerp(start, end, part, 10).ravel(), expected, rtol=3e-7, atol=1e-7)


def test_on_the_way_it_is_noise_as_strong_as_at_the_ends():
    strengths = [float(noise_between(1, 2, part, 8, 64).std()) for part in range(9)]
    assert max(strengths) - min(strengths) < 0.03
    straight = (starting_noise(1, 64) + starting_noise(2, 64)) / 2
    assert straight.std() < 0.75


@given(st.floats(0.0, 1e12))
def test_the_arctangent(x):
    assert module._arctangent(x) == pytest.approx(math.atan(x), rel=2e-15)


@given(st.floats(0.0, math.pi))
def test_the_sine(angle):
    assert module._sine(angle) == pytest.approx(math.sin(angle), rel=2e-15, abs=5e-16)


@pytest.mark.parametrize(("part", "parts"), [(-1, 5), (6, 5), (0, 0), (1, 0)])
def test_a_part_that_is_none(part, parts):
    with pytest.raises(ValueError, match="part of the way"):
        noise_between(1, 2, part, parts, 4)


def test_between_a_seed_and_itself_there_is_nothing():
    with pytest.raises(ValueError, match="one line"):
        noise_between(5, 5, 1, 2, 4)
    zeros = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="one line"):
        slerp(zeros, zeros + np.float32(1.0), 1, 2)
    with pytest.raises(ValueError, match="one line"):
        slerp(zeros + np.float32(1.0), zeros - np.float32(1.0), 1, 2)
