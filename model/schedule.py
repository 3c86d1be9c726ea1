"""The diffusion schedule: how much signal and how much noise an image holds at each diffusion time."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

SamplerName = Literal["ddim", "multistep"]
"""How the steps of a trajectory follow from one another: each for itself, or each with an eye to the one before."""

FEWEST_MULTISTEP_STEPS: Final = 4
"""Below this the multistep sampler is DDIM: so few steps are so far apart that the last one tells nothing."""

RATE_COLUMNS: Final = 5
"""Of a row of ``Schedule.step_rates``."""

STANDING_STILL: Final = (1.0, 0.0, 1.0, 0.0, 0.0)
"""Such a row: all signal and no noise, now and next, so that the image stays and is what is predicted."""


class Rates(NamedTuple):
    """How a noisy image is mixed: ``signal * image + noise * noises``.

    Both are arrays of one shape, in [0, 1], and keep the variance: ``signal**2 + noise**2 == 1``.
    """

    signal: Any
    noise: Any


@dataclass(frozen=True)
class Schedule:
    """The cosine schedule with clipped ends of the Keras DDIM example (after Nichol and Dhariwal 2021, eq. 17).

    The angle grows linearly with the diffusion time, from ``acos(max_signal_rate)`` at time 0 (an almost clean image)
    to ``acos(min_signal_rate)`` at time 1 (almost pure noise); signal is its cosine, noise its sine.

    ``log_snr_shift`` moves the whole curve towards signal (positive) or noise (negative) in log signal-to-noise ratio:
    ``ln 4`` shows an image of half the side at the same visible noise (Hoogeboom et al. 2023, simple diffusion, eq. 4).
    0, the default, is the reference schedule.

    ``time_power`` above 1 dwells on the noisiest images, in training as in sampling: the angle then grows with ``1 - (1
    - time) ** time_power``. There the coarse shapes and colours are decided, so that steps as long as elsewhere leave
    them too much alike (docs/quality-record.md). 1, the default, is the reference schedule.

    ``multistep_time_power`` takes its place for the multistep sampler, which reckons with the step before: few steps
    of it are worth more where they differ less in length (docs/quality-record.md). None: it is the same.
    """

    min_signal_rate: float = 0.02
    max_signal_rate: float = 0.95
    log_snr_shift: float = 0.0
    time_power: float = 1.0
    multistep_time_power: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.min_signal_rate < self.max_signal_rate < 1.0:
            raise ValueError(
                "a schedule needs 0 < min_signal_rate < max_signal_rate < 1, "
                f"got {self.min_signal_rate} and {self.max_signal_rate}"
            )
        for name in ("time_power", "multistep_time_power"):
            if (power := getattr(self, name)) is not None and not 0.0 < power < math.inf:
                raise ValueError(f"{name} must be above 0, got {power}")
        if not math.isfinite(self.log_snr_shift):
            raise ValueError(f"log_snr_shift must be finite, got {self.log_snr_shift}")

    def rates(self, times: Any, xp: Any = np) -> Rates:
        """The rates at diffusion times in [0, 1], of any shape; ``xp`` is what holds them: numpy or ``keras.ops``."""
        start, end = math.acos(self.max_signal_rate), math.acos(self.min_signal_rate)
        if self.time_power != 1.0:
            times = 1.0 - (1.0 - times) ** self.time_power
        angles = start + times * (end - start)
        signal, noise = xp.cos(angles), xp.sin(angles)
        if self.log_snr_shift:
            # log SNR = 2 log(signal / noise): the shift scales one rate against the other.
            noise = noise * math.exp(-0.5 * self.log_snr_shift)
            norm = xp.sqrt(signal * signal + noise * noise)
            signal, noise = signal / norm, noise / norm
        return Rates(signal, noise)

    def step_rates(self, steps: int, sampler: SamplerName = "ddim") -> npt.NDArray[np.float32]:
        """What each step of a whole trajectory needs: float32 [steps, 5], the noisiest step first.

        A row is (signal, noise, next_signal, next_noise, correction): the rates of the image that the step is given and
        of the image that it leaves, and what ``ddim_step`` adds of the change in the predicted images; 0 for DDIM.
        Computed in float64 on the host and rounded once, so that every backend is handed the same bits. Diffusion times
        are equally spaced from 1 down to 0, as in the Keras DDIM example, before a ``time_power`` bends them.

        Raises:
            ValueError: there are no steps, or there is no such sampler.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if sampler not in get_args(SamplerName):
            raise ValueError(f"sampler must be one of {', '.join(get_args(SamplerName))}, got {sampler!r}")
        multistep = sampler == "multistep" and steps >= FEWEST_MULTISTEP_STEPS
        power = self.multistep_time_power if multistep and self.multistep_time_power else self.time_power
        times = np.arange(steps, -1, -1, dtype=np.float64) / steps
        signal, noise = replace(self, time_power=power).rates(times)
        corrections = np.zeros(steps)
        if multistep:
            corrections[1:] = _corrections(signal, noise)
        return np.stack([signal[:-1], noise[:-1], signal[1:], noise[1:], corrections], axis=1).astype(np.float32)

    def to_json(self) -> dict[str, float]:
        """The fields as a JSON object; ``Schedule(**value)`` is the way back.

        The powers, which the first bundles did not have, are left out where they change nothing, so that the same
        schedule has the same hash whichever version wrote it.
        """
        nothing = {"time_power": 1.0, "multistep_time_power": None}
        return {name: value for name, value in asdict(self).items() if name not in nothing or value != nothing[name]}


def _corrections(signal: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The corrections of all steps but the first, from the rates of all steps: [steps + 1] to [steps - 1].

    With the angle a = atan(noise / signal), and x the predicted image, the noisy image z follows

        d(z / sin a) / da = x d(cot a) / da

    (the exact solution of which is that of Lu et al. 2022, DPM-Solver++, proposition 4.1, in another variable). With x
    as it was predicted last, for the whole of a step, that is DDIM. Here x goes on to change as it has done since the
    step before, linearly in the angle; a step's integral is then exact.
    DPM-Solver++(2M) takes log(signal / noise) in place of the angle and errs more here (docs/quality.md).
    """
    angles = np.arctan2(noise, signal)
    steps = np.diff(angles)
    share = signal[2:] - noise[2:] * np.log(noise[2:] / noise[1:-1]) / steps[1:]
    return share * steps[1:] / steps[:-1]
