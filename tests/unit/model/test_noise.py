"""The starting noise: the golden values that every flower's address rests on, and that they are normal."""

import hashlib
import math
from statistics import NormalDist

import numpy as np
import pytest

from model import noise
from model.noise import MAX_SEED, normal_quantiles, starting_noise

# SHA-256 over the little-endian float32 values. A change of any of these changes every picture there is: never do.
GOLDEN = {
    (0, 64): "a6e2b56dc2ff33ccc450f647c3aa19912c0c416e21ab3f17dedb774f3f11d7fb",
    (7, 64): "da6f2b4d1166e4b6d9eeffa09a63fefac12e615557e1decb9a7ee7e79f2a5401",
    (7, 16): "3ee766806af87dd94affd7ac22329693d813e45eaae1ecf16c03b760823a8ec2",
    (2**32, 64): "6c8088b5b8bbdf61aec289d924f36ded74f4a3c662874ec73a5b69d7f525e125",
    (MAX_SEED, 64): "70c1f9d0016560cb0ace14899796e4049b3197e2e83e08fc91d9367a75988a4e",
}


@pytest.mark.parametrize(("seed", "size"), GOLDEN)
def test_the_values_are_those_they_have_always_been(seed, size):
    values = starting_noise(seed, size)
    assert values.shape == (size, size, 3)
    assert values.dtype == np.float32
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == GOLDEN[seed, size]


def test_the_first_values_can_be_read():
    assert [value.hex() for value in starting_noise(7, 64).ravel()[:3].tolist()] == [
        "0x1.22e11a0000000p+0",
        "-0x1.13578e0000000p-1",
        "-0x1.9cf7520000000p-3",
    ]


def philox4x64(counter, key):
    """Ten rounds, after the paper: the four words at a counter."""
    low_bits = 2**64 - 1
    x, (k0, k1) = [counter, 0, 0, 0], key
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [(second >> 64) ^ x[1] ^ k0, second & low_bits, (first >> 64) ^ x[3] ^ k1, first & low_bits]
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & low_bits, (k1 + 0xBB67AE8584CAA73B) & low_bits
    return x


@pytest.mark.parametrize("seed", [0, 7, MAX_SEED])
def test_the_algorithm_is_the_one_that_is_written_down(seed):
    words = [word for counter in range(1, 13) for word in philox4x64(counter, (seed, 0))]
    expected = [NormalDist().inv_cdf(((word >> 12) + 0.5) / 2**52) for word in words]
    np.testing.assert_allclose(starting_noise(seed, 4).ravel(), np.array(expected, np.float32), rtol=2e-7)


def test_it_is_standard_normal():
    values = np.concatenate([starting_noise(seed, 64).ravel() for seed in range(60)]).astype(np.float64)
    error = 1.0 / math.sqrt(len(values))
    assert abs(values.mean()) < 4 * error
    assert abs(values.var() - 1.0) < 4 * math.sqrt(2) * error
    assert abs((values**3).mean()) < 4 * math.sqrt(15) * error
    assert abs((values**4).mean() - 3.0) < 4 * math.sqrt(96) * error


def test_neighbouring_seeds_have_nothing_in_common():
    one, two = starting_noise(7, 64).ravel(), starting_noise(8, 64).ravel()
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.04
    assert not np.isin(one[:100], two).any()


def test_quantiles_are_those_of_the_normal_distribution():
    probabilities = np.concatenate(
        [np.linspace(0.001, 0.999, 999), 10.0 ** -np.arange(1.0, 16.0), 1.0 - 10.0 ** -np.arange(1.0, 15.0)]
    )
    expected = [NormalDist().inv_cdf(p) for p in probabilities]
    np.testing.assert_allclose(normal_quantiles(probabilities), expected, rtol=1e-13, atol=1e-15)


def test_the_logarithm_is_one():
    x = np.concatenate([np.linspace(1e-3, 1.0, 1000), 2.0 ** -np.arange(1.0, 53.0)])
    np.testing.assert_allclose(noise._log(x), np.log(x), rtol=5e-15, atol=1e-16)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_other_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="seed"):
        starting_noise(seed, 16)


def test_no_size_is_refused():
    with pytest.raises(ValueError, match="image_size"):
        starting_noise(1, 0)
