"""The yardstick: diffusion steps as the Keras DDIM example runs them, one eager call of the network a step."""

from __future__ import annotations

import functools

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from model.bundle import Bundle
from model.diffusion import Network, ddim_step
from model.guidance import guided
from model.schedule import RATE_COLUMNS, Rates


def eager_steps(
    bundle: Bundle, noisy_images: npt.NDArray[np.float32], step_rates: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Take the steps [k, 5 + classes] with all images [n, s, s, 3], uncompiled; returns those predicted in the last."""
    images = ops.convert_to_tensor(noisy_images)
    pred_images = images
    prediction = bundle.network_config.prediction
    for row in step_rates:
        *columns, correction = (ops.full((len(noisy_images), 1, 1, 1), rate) for rate in row[:RATE_COLUMNS])
        rates, next_rates = Rates(*columns[:2]), Rates(*columns[2:])
        network: Network = functools.partial(bundle.network, training=False)
        if bundle.network_config.classes:
            class_weights = ops.convert_to_tensor(np.tile(row[RATE_COLUMNS:], (len(noisy_images), 1)))
            network = guided(network, class_weights, rates, bundle.guidance, prediction, ops)
        images, pred_images = ddim_step(network, images, pred_images, rates, next_rates, correction, prediction)
    result: npt.NDArray[np.float32] = keras.ops.convert_to_numpy(pred_images)
    return result
