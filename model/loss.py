"""What training makes small: how far the network's output is from what it should have been."""

from __future__ import annotations

from typing import Any, Literal

from keras import ops

from model.diffusion import Prediction
from model.schedule import Rates

Tensor = Any

Loss = Literal["mae", "mse", "huber"]


def error(kind: Loss, difference: Tensor) -> Tensor:
    """The error of each value: absolute, squared, or squared up to 1 and from there absolute (halved, Huber 1964)."""
    if kind == "mae":
        return ops.abs(difference)
    if kind == "mse":
        return ops.square(difference)
    size = ops.abs(difference)
    return ops.where(size < 1.0, 0.5 * ops.square(difference), size - 0.5)


def target(prediction: Prediction, images: Tensor, noises: Tensor, rates: Rates) -> Tensor:
    """What the network should say: the noises, or the velocity (Salimans and Ho 2022, appendix D)."""
    return noises if prediction == "noise" else rates.signal * noises - rates.noise * images


def min_snr_weights(prediction: Prediction, rates: Rates, most: float) -> Tensor:
    """How much the error of each image counts: Min-SNR (Hang et al. 2023, eq. 8), [n, 1, 1, 1].

    An error in the predicted image counts min(SNR, ``most``) times, whatever the network predicts: nearly clean images,
    which are easy, then do not outweigh the noisy ones, at which the picture is decided.
    """
    snr = ops.square(rates.signal / rates.noise)
    return ops.minimum(snr, most) / (snr if prediction == "noise" else snr + 1.0)
