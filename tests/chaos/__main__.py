"""`make chaos`: jobs by the hundred, while workers, queue and store are killed, stopped and taken away by the dozen.

Everything is real: production workers with a tiny network, production's Valkey with its append-only file, signals. The
seed gives the requests and the faults; at which moments they meet is chance, so every run sees something new.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.audit import audit
from tests.chaos.pixels import wrong_images
from tests.chaos.report import report
from tests.chaos.run import LEASES, Options, Run
from worker.directory_store import DirectoryStore


def main(arguments: Sequence[str]) -> int:
    """Returns 0 if nothing was lost, done twice or wrong; else 1, and the folder of the run is kept."""
    options = _parse(arguments)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    folder = Path(tempfile.mkdtemp(prefix="bouquet-chaos-"))
    print(f"seed {options.seed}; logs, queue and images in {folder}", flush=True)
    good = chaos(options, folder)
    if good:
        shutil.rmtree(folder)
    return 0 if good else 1


def chaos(options: Options, folder: Path) -> bool:
    """A run and its audit; returns whether nothing is wrong."""
    bundle = folder / "tiny.safetensors"
    make = (
        f"from pathlib import Path; from tests.bundles import make_tiny_bundle; make_tiny_bundle(Path({str(bundle)!r}))"
    )
    subprocess.run([sys.executable, "-c", make], check=True)  # apart, so that no TensorFlow runs where processes start
    run = Run(options, folder, bundle)
    try:
        run.begin()
        run.weather_the_storm()
        run.come_to_rest()
        from model.bundle import load_bundle

        store_failed = any(end - begin > run.leases.store / 2 for begin, end in run.storm.store_outages)
        posts, revision = list(run.client.posts.values()), load_bundle(bundle).revision
        store = DirectoryStore(run.store.folder)
        found = audit(run.client.redis, posts, store, revision, store_failed=store_failed)
    finally:
        run.close()
    images, aside, wrong = wrong_images(run.store.folder, bundle)
    return report(run, found, images, aside, wrong)


def _parse(arguments: Sequence[str]) -> Options:
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--jobs", type=int, default=defaults.jobs, help="jobs in all; faults are in proportion")
    parser.add_argument("--minutes", type=float, help="go on for so long instead")
    parser.add_argument(
        "--leases", choices=sorted(LEASES), default=defaults.leases, help="the workers' settings of time"
    )
    parser.add_argument("--workers", type=int, default=defaults.workers, help="workers at a time, 2 or more")
    parser.add_argument("--in-flight", type=int, default=defaults.in_flight, help="jobs that are not done, at most")
    parser.add_argument("--fresh", action="store_true", help="start workers afresh instead of forking them")
    return Options(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
