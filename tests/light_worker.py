"""A real worker process with a network that costs next to nothing, and that tests can hold, slow down and poison.

All else in it is what production runs. `python -m tests.light_worker --name NAME [options]` starts one, and
tests/nursery.py many; Keras' NumPy backend spares them TensorFlow. Their images are a true function of seed and steps:
`light_image`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from worker.protocol import SamplerName

SIZE = 8
REVISION = "0123456789ab"
CONTENT_HASH = REVISION + 52 * "0"


class LightSampler:
    """One step halves the distance to grey, and leaves a trace of the rates: order and number of steps both show."""

    def __init__(
        self,
        hold: Path | None = None,
        poison: int | None = None,
        death: int | None = None,
        step_seconds: float = 0.0,
        most: int | None = None,
    ) -> None:
        from model.noise import starting_noise

        self._hold = hold
        self._poison = None if poison is None else starting_noise(poison, SIZE)
        self._death = None if death is None else starting_noise(death, SIZE)
        self._step_seconds = step_seconds
        self.most = most

    def advance(self, noisy_images: Any, last_images: Any, rates: npt.NDArray[np.float32]) -> tuple[Any, Any]:
        while self._hold is not None and self._hold.exists():
            time.sleep(0.01)
        images = np.asarray(noisy_images)
        if self.most is not None and len(images) > self.most:
            raise RuntimeError("RESOURCE_EXHAUSTED: no memory is left on the device")
        if self._poison is not None and any(np.array_equal(image, self._poison) for image in images):
            raise RuntimeError("this flower is poisonous")
        if self._death is not None and any(np.array_equal(image, self._death) for image in images):
            os.kill(os.getpid(), signal.SIGKILL)
        for step_rates in rates:
            next_signal, correction = (step_rates[:, column].reshape(-1, 1, 1, 1) for column in (2, 4))
            last_images = images = images * np.float32(0.5) + next_signal + correction * np.asarray(last_images)
        time.sleep(self._step_seconds * len(rates))
        return images, last_images

    def to_uint8(self, pred_images: Any) -> npt.NDArray[np.uint8]:
        scaled = np.clip(np.asarray(pred_images) * 0.25 + 0.5, 0.0, 1.0) * 255.0
        return np.rint(scaled).astype(np.uint8)


def light_image(seed: int, steps: int, sampler: SamplerName = "ddim") -> npt.NDArray[np.uint8]:
    """What a light worker makes of a seed, computed alone: uint8 [8, 8, 3]."""
    from model.noise import starting_noise
    from model.schedule import Schedule

    light = LightSampler()
    images = starting_noise(seed, SIZE)[None]
    predicted = np.zeros_like(images)
    for rates in Schedule().step_rates(steps, sampler):
        images, predicted = light.advance(images, predicted, rates[None, None])
    return light.to_uint8(predicted)[0]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--hold", type=Path, help="ticks wait while this file exists")
    parser.add_argument("--poison", type=int, help="a seed whose images make the network fail")
    parser.add_argument("--death", type=int, help="a seed whose images kill the worker")
    parser.add_argument("--step-seconds", type=float, default=0.0)
    parser.add_argument("--most", type=int, help="images for which the device has memory once the worker is ready")
    parser.add_argument(
        "--told-to-stop",
        choices=("ready", "unanswered"),
        help="as its first beat is through, or as Redis breaks it off",
    )
    options = parser.parse_args(arguments)
    os.environ["KERAS_BACKEND"] = "numpy"

    from model.schedule import Schedule
    from worker.__main__ import run
    from worker.batch_worker import OpenWorkshop
    from worker.engine import Engine
    from worker.image_writer import ServedBundle
    from worker.scheduler import Scheduler
    from worker.settings import WorkerSettings
    from worker.store import open_store
    from worker.workshop import Workshop

    settings = WorkerSettings.from_environ()

    def open_workshop(settings: WorkerSettings) -> OpenWorkshop:
        sampler = LightSampler(None, options.poison, options.death, options.step_seconds)
        engine = Engine(sampler, Schedule(), SIZE, (1, 2, 4, 8))
        engine.warm_up()
        sampler._hold, sampler.most = options.hold, options.most
        scheduler = Scheduler(engine.slot_counts, step_seconds=engine.step_seconds)
        served = ServedBundle("light", CONTENT_HASH, REVISION, SIZE)
        store = open_store(settings.store_location)
        workshop = Workshop(engine, scheduler, store, served, store_patience=settings.store_seconds)
        description = {"name": "light", "content_hash": CONTENT_HASH, "revision": REVISION, "image_size": SIZE}
        return OpenWorkshop(workshop, description, REVISION)

    if options.told_to_stop is not None:
        stop_at_the_first_beat(unanswered=options.told_to_stop == "unanswered")
    return run(settings, options.name, open_workshop)


def stop_at_the_first_beat(unanswered: bool) -> None:
    """Lets the worker of this process be told to stop at the very moment at which others may see that it is ready."""
    from redis import ConnectionError as NoAnswerError

    from worker.batch_worker import BatchWorker

    beat = BatchWorker._beat

    def told(worker: BatchWorker) -> None:
        if not unanswered:
            BatchWorker._beat = beat  # type: ignore[method-assign]
        beat(worker)
        os.kill(os.getpid(), signal.SIGTERM)
        if unanswered:
            raise NoAnswerError("the queue has gone")

    BatchWorker._beat = told  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
