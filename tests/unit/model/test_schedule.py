"""The schedule: variance kept, ends where they belong, steps that chain."""

import math

import numpy as np
import pytest
from keras import ops

from model.schedule import Schedule

TIMES = np.linspace(0.0, 1.0, 101)


@pytest.mark.parametrize("shift", [0.0, math.log(4.0), -1.5])
def test_the_variance_is_kept(shift):
    signal, noise = Schedule(log_snr_shift=shift).rates(TIMES)
    np.testing.assert_allclose(signal**2 + noise**2, 1.0, atol=1e-12)


def test_it_goes_from_almost_clean_to_almost_noise():
    signal, _ = Schedule().rates(TIMES)
    assert signal[0] == pytest.approx(0.95)
    assert signal[-1] == pytest.approx(0.02)
    assert (np.diff(signal) < 0).all()


def test_the_angle_grows_linearly():
    signal, noise = Schedule().rates(TIMES)
    angles = np.arctan2(noise, signal)
    np.testing.assert_allclose(np.diff(angles), angles[1] - angles[0], atol=1e-12)


def test_a_shift_is_one_of_the_log_snr():
    def log_snr(schedule):
        signal, noise = schedule.rates(TIMES)
        return 2.0 * np.log(signal / noise)

    np.testing.assert_allclose(log_snr(Schedule(log_snr_shift=1.25)) - log_snr(Schedule()), 1.25, atol=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_backend_computes_what_numpy_computes(shift):
    schedule = Schedule(log_snr_shift=shift)
    times = TIMES.astype(np.float32)
    for there, here in zip(schedule.rates(ops.convert_to_tensor(times), ops), schedule.rates(times), strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(there), here, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 20, 1000])
def test_each_step_begins_where_the_one_before_ended(steps):
    rates = Schedule().step_rates(steps)
    assert rates.shape == (steps, 5)
    assert not rates[:, 4].any()
    assert rates.dtype == np.float32
    np.testing.assert_array_equal(rates[1:, :2], rates[:-1, 2:4])
    assert rates[0, 0] == np.float32(0.02)
    assert rates[-1, 2] == np.float32(0.95)


def test_json_is_the_way_back():
    schedule = Schedule(0.01, 0.9, 0.5)
    assert Schedule(**schedule.to_json()) == schedule


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((0.0, 0.9), "min_signal_rate"), ((0.9, 0.1), "max_signal_rate"), ((0.1, 1.0), "max_signal_rate")],
)
def test_rates_that_make_no_schedule_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        Schedule(*arguments)


@pytest.mark.parametrize("power", [1.5, 2.0])
def test_a_power_dwells_on_the_noisiest_and_keeps_the_ends(power):
    angles = [np.arctan2(*reversed(Schedule(time_power=p).rates(TIMES))) for p in (1.0, power)]
    np.testing.assert_allclose(angles[0][[0, -1]], angles[1][[0, -1]], atol=1e-12)
    steps = np.diff(angles[1])
    assert (np.diff(steps) < 0).all(), "each step towards noise is smaller than the one before"
    np.testing.assert_allclose(Schedule(time_power=power).step_rates(1), Schedule().step_rates(1), atol=1e-7)


def test_a_power_that_bends_nothing_is_not_told():
    assert "time_power" not in Schedule().to_json()
    bent = Schedule(time_power=2.0)
    assert Schedule(**bent.to_json()) == bent


def test_multisteps_may_dwell_in_another_way_than_the_others():
    both = Schedule(time_power=2.0, multistep_time_power=1.5)
    np.testing.assert_array_equal(both.step_rates(8), Schedule(time_power=2.0).step_rates(8))
    np.testing.assert_array_equal(both.step_rates(8, "multistep"), Schedule(time_power=1.5).step_rates(8, "multistep"))
    np.testing.assert_array_equal(both.rates(TIMES), Schedule(time_power=2.0).rates(TIMES))
    assert Schedule(**both.to_json()) == both
    assert "multistep_time_power" not in Schedule(time_power=2.0).to_json()


@pytest.mark.parametrize("power", [0.0, -1.0, math.inf, math.nan])
@pytest.mark.parametrize("name", ["time_power", "multistep_time_power"])
def test_a_power_that_is_none_is_refused(name, power):
    with pytest.raises(ValueError, match=f"^{name}"):
        Schedule(**{name: power})


def test_an_infinite_shift_is_refused():
    with pytest.raises(ValueError, match="log_snr_shift"):
        Schedule(log_snr_shift=math.inf)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps"):
        Schedule().step_rates(0)


def test_a_sampler_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="ddim, multistep, got 'heun'"):
        Schedule().step_rates(20, "heun")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_too_few_multisteps_are_ddim(steps):
    schedule = Schedule(time_power=2.0, multistep_time_power=1.5)
    np.testing.assert_array_equal(schedule.step_rates(steps, "multistep"), schedule.step_rates(steps))


@pytest.mark.parametrize(("shift", "power"), [(0.0, 1.0), (1.0, 1.0), (0.0, 2.0)])
@pytest.mark.parametrize("steps", [4, 20, 1000])
def test_a_multistep_integrates_an_image_that_changes_linearly_in_the_angle(steps, shift, power):
    """Held to the integral of its docstring, on an image of one number, summed up numerically."""
    schedule = Schedule(log_snr_shift=shift, time_power=power)
    rates = schedule.step_rates(steps, "multistep")
    np.testing.assert_array_equal(rates[:, :4], schedule.step_rates(steps)[:, :4])
    assert rates[0, 4] == 0.0
    signal, noise = schedule.rates(np.linspace(1.0, 0.0, steps + 1))
    angles = np.arctan2(noise, signal)
    random = np.random.default_rng(0)
    for i in sorted({1, 2, steps // 2, steps - 1}):
        noisy, image, last_image = random.normal(size=3)
        on_the_way = np.linspace(angles[i], angles[i + 1], 4001)
        images = image + (on_the_way - angles[i]) * (image - last_image) / (angles[i] - angles[i - 1])
        integral = np.trapezoid(images, 1.0 / np.tan(on_the_way))
        expected = noise[i + 1] * (noisy / noise[i] + integral)
        ddim = signal[i + 1] * image + noise[i + 1] * (noisy - signal[i] * image) / noise[i]
        assert ddim + rates[i, 4] * (image - last_image) == pytest.approx(expected, rel=1e-4, abs=1e-4)
