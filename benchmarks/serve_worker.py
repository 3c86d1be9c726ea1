"""`python -m benchmarks.serve_worker`: the product's worker, with an arm's scheduler, and a record of its ticks."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.serve_policies import ARMS, CONTINUOUS, scheduler_maker
from benchmarks.simulation_hardware import read_step_seconds
from worker.__main__ import run
from worker.settings import WorkerSettings


def main(arguments: Sequence[str]) -> int:
    """Runs a worker until it is told to stop; its settings are BOUQUET_* variables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve_worker", description=__doc__)
    parser.add_argument("--arm", choices=ARMS, default=CONTINUOUS)
    parser.add_argument("--ticks", type=Path, required=True, metavar="FILE", help="where the record goes")
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--instant", action="store_true", help="with a network that costs nothing")
    network.add_argument("--pace", type=read_step_seconds, metavar="SLOTS=SECONDS,...", help="with one that sleeps")
    options = parser.parse_args(arguments)
    settings = WorkerSettings.from_environ()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from benchmarks.serve_instant import InstantSampler, PacedSampler
    from benchmarks.serve_record import recording_engine
    from model.bundle import Bundle
    from model.sampling import Sampler
    from worker.engine import AdvancingSampler
    from worker.opening import open_workshop

    def make_sampler(bundle: Bundle) -> AdvancingSampler:
        if options.pace is not None:
            return PacedSampler(options.pace)
        return InstantSampler() if options.instant else Sampler(bundle)

    return run(
        settings,
        f"bench-{options.arm}",
        lambda settings: open_workshop(
            settings,
            make_sampler=make_sampler,
            make_engine=recording_engine(options.ticks),
            make_scheduler=scheduler_maker(options.arm),
        ),
    )


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    logging.shutdown()
    sys.stderr.flush()
    os._exit(exit_code)  # as `python -m worker` does
