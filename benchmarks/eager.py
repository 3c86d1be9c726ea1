"""The yardstick: diffusion steps as the Keras DDIM example runs them, one eager call of the network a step."""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from model.bundle import Bundle
from model.diffusion import ddim_step
from model.schedule import Rates


def eager_steps(
    bundle: Bundle, noisy_images: npt.NDArray[np.float32], step_rates: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Take the steps [k, 5] with all images [n, s, s, 3], uncompiled; returns the images predicted in the last one."""
    images = ops.convert_to_tensor(noisy_images)
    pred_images = images
    for rates in step_rates:
        *columns, correction = (ops.full((len(noisy_images), 1, 1, 1), rate) for rate in rates)
        images, pred_images = ddim_step(
            lambda inputs: bundle.network(inputs, training=False),
            images,
            pred_images,
            Rates(*columns[:2]),
            Rates(*columns[2:]),
            correction,
        )
    result: npt.NDArray[np.float32] = keras.ops.convert_to_numpy(pred_images)
    return result
