"""The pure mathematics of one diffusion step: mix, denoise, remix.

Shapes: images, noises and noisy images are [n, s, s, 3], normalised to mean 0 and variance 1; rates and corrections are
[n, 1, 1, 1], each row's own, so that rows at different points of trajectories of different lengths, by different
samplers, share one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from model.schedule import Rates

Tensor = Any
Network = Callable[[list[Tensor]], Tensor]
"""Noisy images [n, s, s, 3] and noise variances [n, 1, 1, 1] to what it predicts, [n, s, s, 3]."""

Prediction = Literal["noise", "velocity"]
"""What a network predicts: the noises, or the velocities, ``rates.signal * noises - rates.noise * images``, which are
nearly the images where nearly all is noise, so that no error is divided by next to nothing (Salimans and Ho 2022,
appendix D)."""


def mix(images: Tensor, noises: Tensor, rates: Rates) -> Tensor:
    """The noisy images that hold so much signal and so much noise (Song et al. 2021, DDIM, eq. 4)."""
    return rates.signal * images + rates.noise * noises


def denoise(
    network: Network, noisy_images: Tensor, rates: Rates, prediction: Prediction = "noise"
) -> tuple[Tensor, Tensor]:
    """Separate noisy images into (predicted noises, predicted images) (DDIM, eq. 9)."""
    output = network([noisy_images, rates.noise**2])
    images = images_of(output, noisy_images, rates, prediction)
    if prediction == "velocity":
        return rates.noise * noisy_images + rates.signal * output, images
    return output, images


def images_of(output: Tensor, noisy_images: Tensor, rates: Rates, prediction: Prediction) -> Tensor:
    """The images in noisy images, by what a network predicts of these at ``rates``."""
    if prediction == "velocity":
        return rates.signal * noisy_images - rates.noise * output
    return (noisy_images - rates.noise * output) / rates.signal


def output_for(images: Tensor, noisy_images: Tensor, rates: Rates, prediction: Prediction) -> Tensor:
    """What a network predicts of noisy images at ``rates`` if it finds these images in them: ``images_of``'s inverse.

    Rates without any noise have none.
    """
    if prediction == "velocity":
        return (rates.signal * noisy_images - images) / rates.noise
    return (noisy_images - rates.signal * images) / rates.noise


def ddim_step(
    network: Network,
    noisy_images: Tensor,
    last_images: Tensor,
    rates: Rates,
    next_rates: Rates,
    correction: Tensor,
    prediction: Prediction = "noise",
) -> tuple[Tensor, Tensor]:
    """One deterministic step towards less noise: separate, then remix (DDIM, eq. 12 with sigma 0).

    Where ``correction`` is not 0 the step is one of second order, which also reckons with how the predicted images have
    changed since the step before (``Schedule.step_rates`` tells how much). With 0 it is DDIM to the last bit, as long
    as ``last_images`` are finite.

    Args:
        network: predicts the noises, or what ``prediction`` says.
        noisy_images: at ``rates``.
        last_images: what the step before predicted; anything finite, such as zeros, at the first.
        rates: of ``noisy_images``.
        next_rates: of the noisy images that are returned.
        correction: share of the change in the predicted images that is added.
        prediction: what ``network`` predicts.

    Returns:
        (noisy images at ``next_rates``, the images predicted so far). Rows do not influence each other.
    """
    pred_noises, pred_images = denoise(network, noisy_images, rates, prediction)
    # Added to what DDIM leaves, not put into the predicted image that is remixed: 0 then adds nothing to any bit.
    remixed = mix(pred_images, pred_noises, next_rates) + correction * (pred_images - last_images)
    return remixed, pred_images
