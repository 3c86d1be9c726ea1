"""The training entry point: ``bouquet train --preset flowers64 --data DIR|tfds --out runs/NAME``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import math
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, get_args

from model.config import CHECKPOINT_SECONDS, PRESETS, Loss, OptimizerName, Precision, Resize, Stage, TrainConfig
from model.diffusion import Prediction
from model.guidance import GUIDANCE_FORMAT, Guidance
from model.schedule import Schedule

if TYPE_CHECKING:
    from model.dataset import Dataset
    from model.kid_watch import KidWatch

EXTRA_PACKAGES = ("matplotlib", "tensorboard", "tqdm")
KID_FEATURES = ("auto", "off", "lite0", "inception75")
DEFAULT_DECAY_SHARE = 0.35
"""Share of a run of given --minutes over which the learning rate goes down to zero, where the preset names none."""


def parser() -> argparse.ArgumentParser:
    """The command's options. Whatever is not given is the preset's."""
    parser = argparse.ArgumentParser(
        prog="bouquet train",
        description="Train a bundle. Run the same command again to go on after a stop or a crash.",
        epilog="The keras backend is chosen by KERAS_BACKEND (tensorflow, jax).",
    )
    parser.add_argument(
        "--preset", choices=sorted(PRESETS), default="flowers64", help="the recipe (default %(default)s)"
    )
    parser.add_argument("--data", required=True, help="folder of photos, or tfds for Oxford Flowers 102 through TFDS")
    parser.add_argument(
        "--class-names", type=Path, metavar="FILE", help='JSON object with names for the folders, {"001": "rose"}'
    )
    parser.add_argument("--out", required=True, type=Path, help="the run's folder, such as runs/reference")
    parser.add_argument(
        "--begin-from",
        type=Path,
        metavar="BUNDLE",
        help="begin with its weights, in place of random ones; a smaller network's will do",
    )
    parser.add_argument("--minutes", type=float, help="stop after so much training, learning rate down to zero by then")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--stages", help="image sizes and shares of the training: 32:0.6,64:0.4")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, help="mirror half of the photos")
    parser.add_argument("--precision", choices=get_args(Precision))
    parser.add_argument("--loss", choices=get_args(Loss))
    parser.add_argument("--resize", choices=get_args(Resize), help="antialiased filter for the photos")
    parser.add_argument(
        "--stratified-times", action=argparse.BooleanOptionalAction, help="spread the diffusion times of a batch evenly"
    )
    parser.add_argument(
        "--train-time-power", type=float, help="noise levels of training: 2 dwells on noisy images, 0.8 on clear ones"
    )
    parser.add_argument("--min-signal-rate", type=float, help="share of the photo in what is all but pure noise")
    parser.add_argument("--max-signal-rate", type=float, help="share of the photo in what is all but clean")
    parser.add_argument("--time-power", type=float, help="above 1 dwells on noisy images, in sampling as in training")
    parser.add_argument("--multistep-time-power", type=float, help="the same for the multistep sampler; trains nothing")
    parser.add_argument("--optimizer", choices=get_args(OptimizerName))
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--warmup-steps", type=int)
    parser.add_argument("--decay-share", type=float, help="share of the run over which the learning rate goes to zero")
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument("--scale-decay", action=argparse.BooleanOptionalAction)
    parser.add_argument("--min-snr", type=float, help="the most that an error in the image counts for, such as 5")
    parser.add_argument("--prediction", choices=get_args(Prediction), help="what the network predicts")
    parser.add_argument("--class-drop", type=float, help="share of the photos whose class the network is not told")
    parser.add_argument(
        "--guidance",
        metavar=GUIDANCE_FORMAT,
        help="of the bundle: how far to go towards the class, and beyond; 6,2.5:0.1,1.1:0.6:0.9,2:8 is 2.5 until a "
        "signal rate of 0.1, away from no class told 1.1 times the noise there is from 0.6 until 0.9, and 2 for what "
        "is coarser than 8 cells a side",
    )
    parser.add_argument("--ema", type=float)
    parser.add_argument("--second-ema", type=float, help="another average; the better of both is kept")
    parser.add_argument(
        "--ema-warmup", action=argparse.BooleanOptionalAction,
        help="averages that are short at first and forget the first weights soon: unless told otherwise with "
        "--minutes, and with fewer epochs than the preset's",
    )  # fmt: skip
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--kid", choices=KID_FEATURES, default="auto",
        help="features for the KID of each epoch: auto is lite0 where the extra `evaluate` is installed (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=CHECKPOINT_SECONDS,
        help="training time that a kill may cost (default %(default)g)",
    )
    return parser


def resolve(arguments: argparse.Namespace) -> TrainConfig:
    """The preset with the options given. Raises ValueError that names the option at fault."""
    preset = PRESETS[arguments.preset]
    names = {field.name for field in dataclasses.fields(TrainConfig)} - {"preset", "network", "schedule"}
    given: dict[str, Any] = {
        name: value for name, value in vars(arguments).items() if name in names and value is not None
    }
    if "stages" in given:
        given["stages"] = Stage.parse_all(given["stages"])
    if "guidance" in given:
        given["guidance"] = Guidance.parse(given["guidance"])
    of_schedule = {field.name for field in dataclasses.fields(Schedule)}
    changed = {name: value for name, value in vars(arguments).items() if name in of_schedule and value is not None}
    given["schedule"] = dataclasses.replace(preset.schedule, **changed)
    if arguments.prediction is not None:
        given["network"] = dataclasses.replace(preset.network, prediction=arguments.prediction)
    if "minutes" in given and "decay_share" not in given and preset.decay_share == 0.0:
        given["decay_share"] = DEFAULT_DECAY_SHARE
    if "minutes" in given or given.get("epochs", preset.epochs) < preset.epochs:
        # In all steps of a recipe nothing is left of the weights that its average began with; of the reference's a
        # sixth is after 1,800, and those flowers are noise.
        given.setdefault("ema_warmup", True)
    return dataclasses.replace(preset, **given)


def _read_names(path: Path | None) -> dict[str, str]:
    """Names by folder. Raises ValueError that says what is wrong with the file."""
    if path is None:
        return {}
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: no JSON ({error})") from None
    if not isinstance(names, dict) or not all(isinstance(name, str) and name for name in names.values()):
        raise ValueError(f'{path}: must be a JSON object with a name for each folder, as in {{"001": "rose"}}')
    return names


def _named(dataset: Dataset, names: dict[str, str]) -> Dataset:
    """The dataset with other names for its classes; those without one keep theirs."""
    return dataclasses.replace(dataset, classes=tuple(names.get(name, name) for name in dataset.classes))


def fit_classes(config: TrainConfig, dataset: Dataset, say: Callable[[str], None]) -> TrainConfig:
    """The config with a network that is told as many classes as the photos have, if it is told any at all."""
    classes = len(dataset.classes)
    if not config.network.classes or config.network.classes == classes:
        return config
    say(f"{dataset.source}: {classes or 'no'} classes of photos, so the network is told {classes or 'none'}")
    return dataclasses.replace(config, network=dataclasses.replace(config.network, classes=classes))


def main(argv: Sequence[str] | None = None) -> int:
    """Train; exit code 0 finished, 1 failed (reason on stderr), 2 bad options, 130 stopped and resumable."""
    options = parser()
    arguments = options.parse_args(argv)
    if not 0.0 <= arguments.checkpoint_seconds < math.inf:
        options.error(f"--checkpoint-seconds must not be below 0, got {arguments.checkpoint_seconds:g}")
    missing = [name for name in EXTRA_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return _fail(f"training needs {', '.join(missing)}: install the extra, as in pip install 'bouquet[train]'")
    try:
        config = resolve(arguments)
    except ValueError as error:
        options.error(str(error))

    # Late, so that --help and bad options do not wait for the backend.
    from model.bundle import BundleError, load_bundle
    from model.checkpoint import CheckpointError
    from model.dataset import DatasetError, load_dataset
    from model.features import FeatureError
    from model.progress_bar import ProgressBar
    from model.run import Run
    from model.run_error import RunError
    from model.run_folder import held_folder
    from model.slow_precision import bfloat16_slowdown, tell_of_slow_precision

    try:
        class_names = _read_names(arguments.class_names)
    except ValueError as error:
        options.error(f"--class-names: {error}")
    stop = _StopFlag()
    with ProgressBar() as bar, contextlib.ExitStack() as held:
        try:
            held.enter_context(held_folder(arguments.out))
            begin_from = load_bundle(arguments.begin_from) if arguments.begin_from else None
            dataset = load_dataset(arguments.data, [stage.image_size for stage in config.stages], config.resize)
            for skipped in dataset.skipped:
                bar.say(f"skipped {skipped}")
            dataset = _named(dataset, class_names)
            config = fit_classes(config, dataset, bar.say)
            tell_of_slow_precision(config, bar.say, bfloat16_slowdown)
            kid_watch = _kid_watch(arguments.kid, dataset, bar.say)
            run = Run(config, dataset, arguments.out, bar.say, arguments.checkpoint_seconds, kid_watch, begin_from)
            bar.begin(run.budget, run.progress)
            finished = run.train(bar.update, stop.is_set)
        except (BundleError, DatasetError, FeatureError, RunError, CheckpointError, ValueError) as error:
            return _fail(str(error))
        except OSError as error:
            return _fail(f"{error.filename or arguments.out}: {error.strerror or error}")
    if not finished:
        print(f"stopped at step {run.progress.step}; run the same command again to go on", file=sys.stderr)
        return 130
    print(f"finished: {run.bundle_path}")
    return 0


def _kid_watch(wanted: str, dataset: Dataset, say: Callable[[str], None]) -> KidWatch | None:
    """What tracks KID, or None with a word on why not. Raises FeatureError if features asked for cannot be had."""
    from model.features import EXTRACTORS, FeatureError
    from model.kid_watch import KidWatch

    if wanted == "off":
        return None
    name = "lite0" if wanted == "auto" else wanted
    try:
        return KidWatch(name, EXTRACTORS[name](), dataset)
    except (FeatureError, ValueError) as error:
        if wanted != "auto":
            raise
        say(f"KID is not tracked: {error}")
        return None


class _StopFlag:
    """Set by Ctrl-C or SIGTERM: the run then ends after the step it is at, with its state saved."""

    def __init__(self) -> None:
        self._set = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def is_set(self) -> bool:
        return self._set

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._set = True


def _fail(message: str) -> int:
    print(f"bouquet train: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
