"""``bouquet evaluate BUNDLE --data DIR``: how good are a bundle's flowers, and are they its own?"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from model.schedule import SamplerName

if TYPE_CHECKING:
    from model.bundle import Bundle

EXTRA_PACKAGES = ("matplotlib", "tqdm")
FEATURES = ("auto", "lite0", "inception75")
MAX_STEPS = 1000
LOG_SECONDS = 30.0
"""Between lines of progress where the output is a file and no terminal."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="bouquet evaluate",
        description="Score a bundle: KID, precision, recall, share of memorised images.",
        epilog="Needs the extra `evaluate`; docs/evaluation.md tells how to install it and what the figures mean.",
    )
    parser.add_argument("bundle", type=Path, help="the bundle to score")
    parser.add_argument(
        "--data", required=True,
        help="the folder of photos that it was trained on, or tfds: the validation split is what it is compared with, "
        "the training split where copies are looked for",
    )  # fmt: skip
    parser.add_argument("--images", type=int, default=1024, help="flowers a range of seeds (default %(default)s)")
    parser.add_argument("--ranges", type=int, default=3, help="ranges of seeds, for the spread (default %(default)s)")
    parser.add_argument(
        "--steps", type=_steps, default=(20,), metavar="N,...",
        help=f"diffusion steps, 1 to {MAX_STEPS}, such as 1,2,4,8,20,50 (default 20)",
    )  # fmt: skip
    parser.add_argument(
        "--sampler", type=_samplers, default=("ddim",), metavar="NAME,...",
        help="kinds of steps: ddim, multistep, or both with a comma (default ddim)",
    )  # fmt: skip
    parser.add_argument("--size", type=int, help="side in pixels at which both are compared (default: the bundle's)")
    parser.add_argument(
        "--features", choices=FEATURES, default="auto",
        help="lite0: EfficientNet-Lite0, offline; inception75: InceptionV3 at 75 px, as in the Keras DDIM example, "
        "whose weights are downloaded; auto: whichever can be had (default)",
    )  # fmt: skip
    parser.add_argument("--batch-size", type=int, default=64, help="flowers made together (default %(default)s)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write pictures there: samples, nearest pairs, plot")
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument("--update-card", action="store_true", help="write the scores into the bundle's card")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Score a bundle; exit code 0 done, 1 failed (reason on stderr), 2 bad options, 130 stopped."""
    options = parser()
    arguments = options.parse_args(argv)
    missing = [name for name in EXTRA_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        return _fail(f"it needs {', '.join(missing)}: install the extra, as in pip install 'bouquet[evaluate]'")
    for name, least in (("images", 4), ("ranges", 1), ("batch_size", 1), ("size", 1)):
        value = getattr(arguments, name)
        if value is not None and value < least:
            options.error(f"--{name.replace('_', '-')} must be at least {least}, got {value}")

    # Late, so that --help and bad options do not wait for the backend.
    from model.bundle import BundleError, load_bundle
    from model.dataset import DatasetError
    from model.features import FeatureError
    from model.score_card import write_scores
    from model.scores import scores_table

    try:
        bundle = load_bundle(arguments.bundle)
        scores = _evaluate(arguments, bundle)
        if arguments.update_card:
            write_scores(arguments.bundle, bundle, scores)
    except (BundleError, DatasetError, FeatureError, ValueError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or arguments.out}: {error.strerror or error}")
    except KeyboardInterrupt:
        return _fail("stopped; nothing was written into the card", 130)
    if arguments.json:
        print(json.dumps({"name": bundle.name, "content_hash": bundle.content_hash, "scores": scores}, indent=2))
    else:
        print(f"{bundle.name}, revision {bundle.revision}\n\n{scores_table(scores)}")
    return 0


def _evaluate(arguments: argparse.Namespace, bundle: Bundle) -> dict[str, Any]:
    """Sample and score, with a bar on stderr and pictures in --out; the scores as they go into the card."""
    from tqdm import tqdm

    from model.dataset import load_dataset
    from model.evaluation import Plan, evaluate
    from model.features import EXTRACTORS, available_extractors
    from model.sampling import Sampler
    from model.scorer import RESIZE, Scorer

    def say(line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    wanted, size = arguments.features, arguments.size or bundle.image_size
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):  # where Keras tells of a download
        extractors = available_extractors(say) if wanted == "auto" else {wanted: EXTRACTORS[wanted]()}
    dataset = load_dataset(arguments.data, [size], RESIZE)
    for skipped in dataset.skipped:
        say(f"skipped {skipped}")
    scorer = Scorer(extractors, dataset, size)
    plan = Plan(arguments.steps, arguments.images, arguments.ranges, arguments.batch_size, arguments.sampler)
    interval = 0.5 if sys.stderr.isatty() else LOG_SECONDS
    with tqdm(total=plan.image_steps, unit="image-steps", unit_scale=True, mininterval=interval) as bar:
        return evaluate(Sampler(bundle), scorer, plan, arguments.out, bar.update, say)


def _steps(text: str) -> tuple[int, ...]:
    try:
        steps = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of whole numbers, such as 1,2,4,8,20,50") from None
    if not 1 <= steps[0] <= steps[-1] <= MAX_STEPS:
        raise argparse.ArgumentTypeError(f"each must be between 1 and {MAX_STEPS}, got {text}")
    return tuple(steps)


def _samplers(text: str) -> tuple[SamplerName, ...]:
    known = get_args(SamplerName)
    names = text.split(",")
    if not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of {' and '.join(known)}")
    return tuple(name for name in known if name in names)


def _fail(message: str, code: int = 1) -> int:
    print(f"bouquet evaluate: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
