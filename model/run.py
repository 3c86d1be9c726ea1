"""One training run in its folder: trains until its budget is used, survives any kill, leaves a bundle.

The folder holds ``options.json``, ``checkpoints/``, ``history.csv``, ``tensorboard/``, ``samples/`` (a grid an epoch),
``loss.png``, ``model.png``, ``MODEL_CARD.md``, ``bundle.safetensors`` and ``lock`` (``model.run_folder``). Running it
again goes on from the last checkpoint.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from model.atomic import write_atomically
from model.averages import AverageScore, better
from model.backend import accelerated
from model.budget import Budget
from model.bundle import Bundle, Card, load_bundle, save_bundle
from model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.code_hash import code_fingerprint
from model.config import CHECKPOINT_SECONDS, TrainConfig
from model.dataset import Dataset
from model.grid import image_grid
from model.history import EpochRow, History
from model.kid_watch import KidWatch
from model.model_card import write_model_card
from model.network_plot import plot_network
from model.normaliser import Normaliser
from model.order import PhotoOrder
from model.run_error import RunError
from model.sampling import Sampler
from model.schedule import Schedule
from model.starting_state import state_from_bundle, state_from_checkpoint
from model.trainer import Losses, Trainer

STEPS_PER_CALL = 50
"""Steps in one compiled loop on an accelerator."""
GRID_SEEDS = range(32)
GRID_COLUMNS = 8

CHANGEABLE = frozenset(
    {
        "minutes",
        "epochs",
        "stages",
        "learning_rate",
        "warmup_steps",
        "decay_share",
        "ema_warmup",
        "precision",
        "sample_steps",
        "guidance",
        "schedule.multistep_time_power",
    }
)
"""Options that a resumed run may be given anew, whole or a part by itself; any other makes it another run."""


@dataclass
class Progress:
    """Where the run is. All of it is in every checkpoint."""

    step: int = 0
    seconds: float = 0.0
    noise_sum: float = 0.0
    image_sum: float = 0.0
    summed: int = 0
    """Steps in the two sums: those of the epoch so far."""
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    """Hashes of the code that trained, one after the other if it was changed on the way."""


class Run:
    """Trains ``config`` on ``dataset`` in ``folder``, from where the folder's last checkpoint stands.

    ``begin_from`` is a bundle whose weights are those before the first step, in place of random ones. Its network may
    be smaller (see model/grown_weights.py) and have predicted something else: what it sees serves either prediction.

    Raises:
        RunError: the folder holds a run with other options or other data; the bundle's network cannot grow to ours.
        CheckpointError: its checkpoints are all damaged.
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        folder: Path,
        say: Callable[[str], None] = print,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        kid_watch: KidWatch | None = None,
        begin_from: Bundle | None = None,
    ) -> None:
        self.config, self.folder = config, folder
        self.dataset = dataset if config.network.classes else dataset.without_classes()
        self._begin_from = begin_from
        self._say = say
        self._kid_watch = kid_watch
        self._checkpoint_seconds = checkpoint_seconds
        self._normaliser = Normaliser.of(dataset.train[config.image_size])
        photos = len(dataset.train[config.image_size])
        self._order = PhotoOrder(photos, config.batch_size, config.repetitions, config.seed)
        self.budget = Budget(config, config.epochs * self._order.steps_per_epoch)
        self._check_classes()
        self._fingerprint = self.dataset.fingerprint()
        self._write_options()

        checkpoint, warnings = load_checkpoint(folder / "checkpoints")
        for warning in warnings:
            say(warning)
        self.progress = Progress(**checkpoint.progress) if checkpoint else Progress()
        if (code := code_fingerprint()) not in self.progress.code[-1:]:
            self.progress.code.append(code)
        self.history = History(folder, self.progress.history)
        self.history.write_csv()
        self._begin_size(self.budget.image_size(self.fraction))
        self._state = self._trainer.initial_state()
        if checkpoint:
            self._state = state_from_checkpoint(checkpoint, self._state)
            say(f"{folder}: going on from step {self.progress.step}, {self.progress.seconds / 60:.1f} minutes in")
        elif begin_from:
            self._state = state_from_bundle(begin_from, config.network, self._state, self._trainer.network)
            say(f"{folder}: beginning from the weights of {begin_from.name}, revision {begin_from.revision}")

    @property
    def fraction(self) -> float:
        """How much of the budget is used, 0 to 1."""
        return self.budget.fraction(self.progress.step, self.progress.seconds)

    @property
    def bundle_path(self) -> Path:
        return self.folder / "bundle.safetensors"

    def train(self, on_step: Callable[[Progress, float, float], None], stopped: Callable[[], bool]) -> bool:
        """Train until the budget is used or ``stopped()``; tells whether it is finished.

        ``on_step(progress, noise loss, images a second)`` is called after each compiled call. Whenever this returns,
        and at least once in ``checkpoint_seconds`` of training before that, the state is on disk.
        """
        saved_at = self.progress.seconds
        if self.fraction < 1.0:
            self.progress.finished = False  # more epochs or minutes than when it was finished
        while self.fraction < 1.0 and not stopped():
            self._use_size(self.budget.image_size(self.fraction))
            started = time.monotonic()
            losses, count = self._advance()
            seconds = time.monotonic() - started
            self.progress.seconds += seconds
            self.progress.step += count
            self.progress.noise_sum += float(losses.noise.sum())
            self.progress.image_sum += float(losses.image.sum())
            self.progress.summed += count
            if not math.isfinite(self.progress.noise_sum):
                raise self._exploded("the losses are")
            on_step(self.progress, float(losses.noise[-1]), count * self.config.batch_size / seconds)
            if self.progress.step % self._order.steps_per_epoch == 0 or self.fraction >= 1.0:
                self._end_epoch()
                self._save()
                saved_at = self.progress.seconds
            elif self.progress.seconds - saved_at >= self._checkpoint_seconds:
                self._save()
                saved_at = self.progress.seconds
        if self.fraction < 1.0:
            self._save()
            return False
        if self.progress.summed:  # resumed with a budget that was used up in the middle of an epoch
            self._end_epoch()
            self._save()
        if not self.progress.finished or not self.bundle_path.exists():
            self._finish()
        return True

    def _advance(self) -> tuple[Losses, int]:
        """One compiled call: one step on a CPU, up to ``STEPS_PER_CALL`` on an accelerator."""
        step, per_epoch = self.progress.step, self._order.steps_per_epoch
        count = min(STEPS_PER_CALL, per_epoch - step % per_epoch) if accelerated() else 1
        if self.config.minutes is None:
            fractions = [self.budget.fraction(step + k, 0.0) for k in range(count)]
        else:
            fractions = [self.fraction] * count
        rates = np.array(
            [self.budget.learning_rate(step + k, fraction) for k, fraction in enumerate(fractions)], np.float32
        )
        rows = self._order.rows(step, count)
        self._state, losses = self._trainer.train_steps(self._state, self._photos, rows, step, rates, self._labels)
        return Losses(ops.convert_to_numpy(losses.noise), ops.convert_to_numpy(losses.image)), count

    def _use_size(self, size: int) -> None:
        """Train at this image size from now on; the weights fit every size."""
        if self._trainer.image_size != size:
            self._begin_size(size)

    def _begin_size(self, size: int) -> None:
        self._trainer = Trainer(self.config, size, self._normaliser, self._stage_schedule(size))
        self._photos = ops.convert_to_tensor(self.dataset.train[size])
        labels = self.dataset.train_labels
        self._labels = None if labels is None else ops.convert_to_tensor(labels)

    def _stage_schedule(self, size: int) -> Schedule:
        """The schedule for a stage: a smaller image shows the same noise at a higher signal-to-noise ratio.

        Averaging blocks of pixels keeps the signal and thins the noise, so the log SNR of the same scene at the same
        visible noise grows by 2 ln(ratio of sides) (Hoogeboom et al. 2023, simple diffusion, eq. 4).
        """
        shift = self.config.schedule.log_snr_shift + 2.0 * math.log(self.config.image_size / size)
        return dataclasses.replace(self.config.schedule, log_snr_shift=shift)

    def _end_epoch(self) -> None:
        progress, size = self.progress, self._trainer.image_size
        validation, bundle = self._validation(), self._bundle_in_memory()
        row = EpochRow(
            epoch=math.ceil(progress.step / self._order.steps_per_epoch),
            step=progress.step,
            images=progress.step * self.config.batch_size,
            seconds=round(progress.seconds, 1),
            image_size=size,
            learning_rate=self.budget.learning_rate(progress.step, self.fraction),
            noise_loss=progress.noise_sum / progress.summed,
            image_loss=progress.image_sum / progress.summed,
            validation_noise_loss=validation.noise,
            validation_image_loss=validation.image,
            validation_kid=self._kid_watch(bundle) if self._kid_watch else None,
        )
        progress.noise_sum = progress.image_sum = 0.0
        progress.summed = 0
        self.history.add(row)
        progress.history = self.history.to_json()
        self.history.write_csv()
        self.history.write_scalars()
        images = Sampler(bundle, exact=False).sample(GRID_SEEDS, self.config.sample_steps)
        path = self.folder / "samples" / f"epoch-{row.epoch:04d}.png"
        path.parent.mkdir(exist_ok=True)
        image_grid(images, GRID_COLUMNS).save(path)
        self._say(
            f"epoch {row.epoch}, {size} px: noise loss {row.noise_loss:.4f}, "
            f"validation {row.validation_noise_loss:.4f}"
            + ("" if row.validation_kid is None else f", KID {row.validation_kid:.4f}")
            + f"; {path}"
        )

    def _validation(self, second: bool = False) -> Losses:
        """Losses of an averaged network over all validation photos, with the same noises every time."""
        photos = self.dataset.validation[self._trainer.image_size]
        labels = self.dataset.validation_labels
        size = min(self.config.batch_size, len(photos))
        sums, count = np.zeros(2), 0
        for batch, start in enumerate(range(0, len(photos) - size + 1, size)):
            part = slice(start, start + size)
            losses = self._trainer.validation_losses(
                self._state,
                ops.convert_to_tensor(photos[part]),
                batch,
                second,
                None if labels is None else ops.convert_to_tensor(labels[part]),
            )
            sums += [float(ops.convert_to_numpy(loss)) for loss in losses]
            count += 1
        return Losses(*(sums / count))

    def _save(self) -> None:
        groups = {
            name: [ops.convert_to_numpy(value) for value in values] for name, values in self._state._asdict().items()
        }
        if not all(np.isfinite(value).all() for values in groups.values() for value in values):
            raise self._exploded("the weights are")
        checkpoint = Checkpoint(groups, dataclasses.asdict(self.progress))
        save_checkpoint(self.folder / "checkpoints", self.progress.step, checkpoint)

    def _check_classes(self) -> None:
        classes = self.config.network.classes
        if classes != len(self.dataset.classes):
            raise RunError(
                f"{self.dataset.source}: {len(self.dataset.classes)} classes of photos, but the network is to be told "
                f"{classes}; give photos in a folder for each class, or another preset"
            )

    def _exploded(self, what: str) -> RunError:
        return RunError(
            f"step {self.progress.step}: {what} no longer numbers. Run it again with a lower --learning-rate; if that "
            f"ends here at once, delete the newest file in {self.folder / 'checkpoints'}: the one before it is kept"
        )

    def _finish(self) -> None:
        """The bundle and what tells of it."""
        self._use_size(self.config.image_size)
        self.progress.finished = True
        scores = self._compare_averages()
        chosen = better(scores) if scores else 0
        save_bundle(
            self.bundle_path,
            name=self.config.preset,
            network=self._trainer.ema_network(self._state, second=chosen == 1),
            network_config=self.config.network,
            schedule=self.config.schedule,
            normaliser=self._normaliser,
            image_size=self.config.image_size,
            card=self._card(scores, chosen),
            class_names=self.dataset.classes,
            class_counts=self.dataset.class_counts,
            guidance=self.config.guidance,
        )
        self.history.plot()
        plot_network(self.config.network, self.config.image_size, self.folder / "model.png")
        bundle = load_bundle(self.bundle_path)
        images = Sampler(bundle).sample(GRID_SEEDS, self.config.sample_steps)
        image_grid(images, GRID_COLUMNS).save(self.folder / "samples.png")
        write_model_card(self.folder, bundle)
        self._save()

    def _compare_averages(self) -> list[AverageScore]:
        """How both averages do; none where there is but one."""
        if self.config.second_ema is None:
            return []
        scores = []
        for second, ema in enumerate((self.config.ema, self.config.second_ema)):
            kid = self._kid_watch(self._bundle_in_memory(bool(second))) if self._kid_watch else None
            scores.append(AverageScore(ema, self._validation(bool(second)).noise, kid))
            told = "" if kid is None else f", KID {kid:.4f}"
            self._say(f"average {ema:g}: validation {scores[-1].validation_noise_loss:.4f}{told}")
        return scores

    def _card(self, scores: list[AverageScore], chosen: int) -> Card:
        last = self.history.rows[-1]
        size = self.config.image_size
        recipe: dict[str, Any] = {
            "options": self.config.to_json(),
            "trained": dataclasses.asdict(last),
            "code_sha256": self.progress.code,
            "software": {
                "bouquet": version("bouquet"),
                "keras": keras.__version__,
                keras.backend.backend(): importlib.import_module(keras.backend.backend()).__version__,
            },
        }
        if self._begin_from:
            recipe["begun_from"] = self._ancestor()
        if self._kid_watch:
            recipe["validation_kid_features"] = self._kid_watch.name
        if scores:
            recipe["averages"] = [dataclasses.asdict(score) for score in scores]
            recipe["average"] = scores[chosen].ema
        return Card(
            training_data={
                "source": "tfds:oxford_flowers102" if self.dataset.source == "tfds" else "folder of photos",
                "train_photos": len(self.dataset.train[size]),
                "validation_photos": len(self.dataset.validation[size]),
                "sha256": self._fingerprint,
            },
            recipe=recipe,
        )

    def _ancestor(self) -> dict[str, Any] | None:
        """The bundle whose weights the run began with, for those who want to repeat it."""
        bundle = self._begin_from
        return {"name": bundle.name, "content_hash": bundle.content_hash} if bundle else None

    def _bundle_in_memory(self, second: bool = False) -> Bundle:
        """An averaged network as it stands, at the size it is trained at now."""
        size = self._trainer.image_size
        return Bundle(
            name=self.config.preset,
            network_config=self.config.network,
            schedule=self._trainer.schedule,
            normaliser=self._normaliser,
            image_size=size,
            precision="float32",
            network=self._trainer.ema_network(self._state, second),
            content_hash="",
            card=Card(),
            class_names=self.dataset.classes,
            class_counts=self.dataset.class_counts,
            guidance=self.config.guidance,
        )

    def _write_options(self) -> None:
        """Write the resolved options beside the run, or compare them with those it was begun with."""
        path = self.folder / "options.json"
        options = _by_name(self.config.to_json())
        document = {"options": self.config.to_json(), "data_sha256": self._fingerprint, "begun_from": self._ancestor()}
        if path.exists():
            try:
                before = json.loads(path.read_text())
                # Options that there were not yet when the run was begun are as by default.
                options_before = _by_name(TrainConfig.from_json(before["options"]).to_json())
            except (ValueError, TypeError, KeyError) as error:
                detail = f"damaged, or of another version of Bouquet ({error}); give another --out to begin anew"
                raise RunError(f"{path}: {detail}") from error
            changed = [name for name in options if options_before[name] != options[name]]
            refused = [name for name in changed if not {name, name.partition(".")[0]} & CHANGEABLE]
            if before["data_sha256"] != self._fingerprint:
                refused.append("data")
            if before.get("begun_from") != document["begun_from"]:
                refused.append("begin_from")
            if refused:
                raise RunError(
                    f"{self.folder}: holds a run with other {', '.join(refused)}; give the same options to resume it, "
                    "or another --out to begin anew"
                )
            for name in changed:
                self._say(f"{name}: {options_before[name]} until now, {options[name]} from here")
        write_atomically(path, json.dumps(document, indent=2).encode())


def _by_name(options: dict[str, Any]) -> dict[str, Any]:
    """Options as a flat JSON object: a part of an option, such as the schedule's, is named ``schedule.part``."""
    flat: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(options)).items():
        if isinstance(value, dict):
            flat |= {f"{name}.{part}": part_value for part, part_value in value.items()}
        else:
            flat[name] = value
    return flat
