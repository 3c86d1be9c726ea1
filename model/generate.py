"""``bouquet generate`` in this process: flowers without a server, by the same path that serves them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from model.schedule import SamplerName

MAX_STEPS = 1000
BATCH_SIZE = 16
"""Images computed together: more gains nothing on a CPU and keeps the first one waiting."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="bouquet generate", description="Make flowers here; with --server URL, on a server."
    )
    parser.add_argument(
        "--steps", type=int, default=20, help=f"diffusion steps, 1 to {MAX_STEPS} (default %(default)s)"
    )
    parser.add_argument(
        "--sampler", choices=get_args(SamplerName), default="ddim",
        help="kind of steps: multistep makes more of few of them (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--kind", metavar="NAME", help="kind of flower, such as sunflower; without it each seed decides"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first flower; the next ones count up")
    parser.add_argument("--count", type=int, default=1, help="how many flowers (default %(default)s)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("flower.png"),
        help="the PNG; with --count above 1 the seed is put before the suffix (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--bundle", type=Path, help="a bundle of your own training (default: the one that ships)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Make the flowers; exit code 0 done, 1 failed (reason on stderr), 2 bad options."""
    options = parser()
    arguments = options.parse_args(argv)
    if not 1 <= arguments.steps <= MAX_STEPS:
        options.error(f"--steps must be between 1 and {MAX_STEPS}, got {arguments.steps}")
    if arguments.count < 1:
        options.error(f"--count must be at least 1, got {arguments.count}")

    # Late, so that --help and bad options do not wait for the backend.
    from PIL import Image

    from model.bundle import BundleError, default_bundle_path, load_bundle
    from model.noise import MAX_SEED
    from model.sampling import Sampler

    last = arguments.seed + arguments.count - 1
    if arguments.seed < 0 or last > MAX_SEED:
        options.error(f"--seed must be between 0 and {MAX_SEED}, with all of --count")
    try:
        sampler = Sampler(load_bundle(arguments.bundle or default_bundle_path()))
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        for start in range(arguments.seed, last + 1, BATCH_SIZE):
            seeds = range(start, min(start + BATCH_SIZE, last + 1))
            flowers = sampler.sample(seeds, arguments.steps, arguments.sampler, arguments.kind)
            for seed, pixels in zip(seeds, flowers, strict=True):
                path = arguments.output
                if arguments.count > 1:
                    path = path.with_stem(f"{path.stem}-{seed}")
                Image.fromarray(pixels).save(path)
                print(path)
    except (BundleError, OSError, ValueError) as error:
        print(f"bouquet generate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
