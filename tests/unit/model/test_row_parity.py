"""Processors differ in whether rows of a batch keep the bits that they have alone; images do not."""

import keras
import numpy as np
import pytest

from model.bundle import load_bundle
from model.noise import starting_noise
from model.row_parity import rows_are_as_alone
from model.sampling import Sampler
from model.schedule import STANDING_STILL
from tests.bundles import make_tiny_bundle


@pytest.fixture(scope="module", params=[0, 3], ids=["without classes", "with classes"])
def bundle(request, tmp_path_factory):
    return load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny.safetensors", classes=request.param))


def half(noisy_images, last_images, rates):
    """What does for a network: each row is for itself, and every number in its rates shows."""
    return noisy_images * rates[0].sum(axis=1)[:, None, None, None], last_images * np.float32(0.5)


def higher(images):
    """The next floats above."""
    return np.nextafter(images, np.float32(np.inf))


def more_with_company(noisy_images, last_images, rates):
    noisy, predicted = half(noisy_images, last_images, rates)
    return noisy if len(noisy) == 1 else higher(noisy), predicted


def more_with_company_in_the_prediction(noisy_images, last_images, rates):
    noisy, predicted = half(noisy_images, last_images, rates)
    return noisy, predicted if len(noisy) == 1 else higher(predicted)


def more_in_the_last_pixel_of_the_last_of_many(noisy_images, last_images, rates):
    noisy, predicted = half(noisy_images, last_images, rates)
    if len(noisy) > 4:
        noisy[-1, -1, -1, -1] = higher(noisy[-1, -1, -1, -1])
    return noisy, predicted


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_rows_for_themselves_are_as_alone(bundle, count):
    assert rows_are_as_alone(half, bundle, count)


@pytest.mark.parametrize(
    "advance",
    [more_with_company, more_with_company_in_the_prediction, more_in_the_last_pixel_of_the_last_of_many],
)
def test_one_last_bit_tells(bundle, advance):
    assert not rows_are_as_alone(advance, bundle, 5)
    assert rows_are_as_alone(advance, bundle, 1)


def test_each_number_of_rows_is_tried(bundle):
    assert rows_are_as_alone(more_in_the_last_pixel_of_the_last_of_many, bundle, 4)


def test_noise_that_overflows_is_compared_too(bundle):
    def overflowing(noisy_images, last_images, rates):
        return noisy_images * np.float32(np.nan), last_images

    assert rows_are_as_alone(overflowing, bundle, 3)


class Processor:
    """Stands in for the compiled step, and counts its calls."""

    def __init__(self, step):
        self.step = step
        self.rows = []

    def __call__(self, noisy_images, last_images, rates):
        self.rows.append(len(noisy_images))
        return self.step(*map(keras.ops.convert_to_numpy, (noisy_images, last_images, rates[None])))


ROWS = 8
NOISES = np.stack([starting_noise(seed, 16) for seed in range(ROWS)])


def advance(sampler, rows):
    rates = sampler.bundle.schedule.step_rates(ROWS)[rows]
    table = np.concatenate([rates, np.ones((len(rates), sampler.bundle.network_config.classes), np.float32)], axis=1)
    return np.stack(
        [keras.ops.convert_to_numpy(part) for part in sampler.advance(NOISES[rows], NOISES[rows], table[None])]
    )


@pytest.fixture
def put_in(bundle, monkeypatch):
    """Gives a sampler whose compiled step is the given one, on a processor that might do batches."""

    def put_in(step, **options):
        sampler, processor = Sampler(bundle, **options), Processor(step)
        monkeypatch.setattr(sampler, "_compiled_step", processor)
        monkeypatch.setattr(sampler, "_loops_on_device", False)
        monkeypatch.setattr(sampler, "_rows_at_once", None)
        return sampler, processor

    return put_in


def test_where_company_shows_each_row_is_advanced_alone(put_in):
    sampler, processor = put_in(more_with_company)
    together = advance(sampler, range(ROWS))
    for row in range(ROWS):
        np.testing.assert_array_equal(together[:, row], advance(sampler, [row])[:, 0])
    processor.rows.clear()
    advance(sampler, range(ROWS))
    assert processor.rows == [1] * ROWS


def test_where_few_cannot_share_a_call_more_are_not_tried(put_in):
    sampler, processor = put_in(more_with_company)
    advance(sampler, range(2))
    processor.rows.clear()
    advance(sampler, range(ROWS))
    assert processor.rows == [1] * ROWS


def test_where_the_last_bits_do_not_matter_they_share_a_call_untried(put_in):
    sampler, processor = put_in(more_with_company, exact=False)
    advance(sampler, range(ROWS))
    assert processor.rows == [ROWS]


def test_rows_that_stand_still_cost_nothing_there_and_are_as_if_computed(bundle):
    sampler = Sampler(bundle)
    rates = bundle.schedule.step_rates(4)
    table = np.stack([rates[0], STANDING_STILL, rates[2], STANDING_STILL]).astype(np.float32)
    table = np.concatenate([table, np.ones((4, bundle.network_config.classes), np.float32)], axis=1)[None]
    computed = [keras.ops.convert_to_numpy(part) for part in sampler._advance(NOISES[:4], NOISES[4:], table)]
    rows, step = [], sampler._compiled_step

    def counting(*arguments):
        rows.append(len(arguments[0]))
        return step(*arguments)

    sampler._compiled_step, sampler._loops_on_device, sampler._rows_at_once = counting, False, 1
    for part, expected in zip(sampler.advance(NOISES[:4], NOISES[4:], table), computed, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(part)[[1, 3]], expected[[1, 3]])
        np.testing.assert_allclose(keras.ops.convert_to_numpy(part), expected, atol=1e-4 * np.abs(expected).max())
    assert rows == [1, 1]


def test_where_it_does_not_a_batch_is_one_call_and_tried_once(put_in):
    sampler, processor = put_in(half)
    advance(sampler, range(ROWS))
    processor.rows.clear()
    advance(sampler, range(ROWS))
    advance(sampler, range(3))
    advance(sampler, range(3))
    assert processor.rows[0] == ROWS
    assert processor.rows.count(3) == 3  # tried, then used twice
