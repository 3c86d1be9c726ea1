"""``bouquet bench simulate``: what latencies and fills to expect of other machines, loads and numbers of workers.

Nothing is measured: how fast a machine is comes from a file, which ``bouquet bench serve --hardware-out`` writes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.serve_figures import JobTimes, figures
from benchmarks.serve_policies import ARMS, CONTINUOUS, scheduler_maker
from benchmarks.serve_trace import Mix, draw_trace
from benchmarks.simulation import Simulation
from benchmarks.simulation_hardware import Hardware, HardwareError, read_step_seconds

WARM_UP_SHARE = 0.1
"""The share of the jobs that come first and are not judged: they find empty workers."""


def main(argv: Sequence[str] = ()) -> int:
    """Print a row for each arm, number of workers and load."""
    options = _parse(argv)
    hardware: Hardware = options.hardware
    mix = Mix(options.fewest_steps, options.most_steps, options.many_share, options.most_images)
    report.plain_heading(
        f"Simulation: {hardware.name}, {hardware.slots} slots, "
        f"{hardware.image_steps_per_second:.0f} image-steps/s a worker at most"
    )
    print(
        f"Steps log-uniform from {mix.fewest_steps} to {mix.most_steps}, {mix.many_share:.0%} of the jobs with 2 to "
        f"{mix.most_images} images; {mix.mean_image_steps:.0f} image-steps a job. Seed {options.seed}. Times in s.\n"
    )
    columns = ("arm", "workers", "load", "jobs", "jobs/s", "images/s", "p50", "p99", "short p50", "short p99")
    rows = [
        _row(options, hardware, mix, arm, workers, load)
        for workers in options.workers
        for load in options.loads
        for arm in options.arms
    ]
    report.table((*columns, "to admission p99", "fill"), rows)
    return 0


def _row(
    options: argparse.Namespace, hardware: Hardware, mix: Mix, arm: str, workers: int, load: float
) -> tuple[object, ...]:
    jobs = max(options.jobs, options.jobs_a_worker * workers)
    rate = load * workers * hardware.image_steps_per_second
    trace = draw_trace(mix, jobs, options.seed, image_steps_per_second=rate)
    run = Simulation(
        trace,
        scheduler_maker(arm),
        hardware,
        workers=workers,
        jobs_held=options.jobs_held,
        seed=options.seed,
    ).run()
    judged: list[JobTimes] = run.jobs[int(WARM_UP_SHARE * jobs) :]
    begin, end = judged[0].arrived, judged[-1].arrived
    ticks = [tick for tick in run.ticks if begin <= tick.began < end]
    done = figures(judged, ticks, run.end - begin)
    within = [job for job in run.jobs if begin <= job.finished < end]
    seconds = end - begin
    return (
        ARMS[arm],
        workers,
        load,
        len(judged),
        len(within) / seconds,
        sum(job.images for job in within) / seconds,
        done.p50,
        done.p99,
        done.short_p50,
        done.short_p99,
        done.admission_p99,
        done.fill,
    )


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bouquet bench simulate", description=__doc__, allow_abbrev=False)
    mix = Mix()
    machine = parser.add_mutually_exclusive_group(required=True)
    machine.add_argument("--hardware", type=_hardware, metavar="FILE", help="JSON; docs/capacity.md tells its fields")
    machine.add_argument(
        "--step-seconds",
        type=_table,
        dest="hardware",
        metavar="SLOTS=SECONDS,...",
        help="instead of a file: the time of one step at each slot count, e.g. 1=0.013,8=0.08",
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1], metavar="N", help="workers on one queue (1)")
    parser.add_argument(
        "--loads", type=_load, nargs="+", default=[0.5, 0.8], metavar="L", help="share of what they can do (0.5 0.8)"
    )
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=[CONTINUOUS], help=f"which ({CONTINUOUS})")
    parser.add_argument("--jobs", type=int, default=3000, metavar="N", help="at least, in a run (3000)")
    parser.add_argument("--jobs-a-worker", type=int, default=20, metavar="N", help="at least, in a run (20)")
    parser.add_argument("--jobs-held", type=int, metavar="N", help="BOUQUET_JOBS_HELD (four a slot)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of arrivals and requests (1)")
    parser.add_argument("--fewest-steps", type=int, default=mix.fewest_steps, metavar="N")
    parser.add_argument("--most-steps", type=int, default=mix.most_steps, metavar="N")
    parser.add_argument("--many-share", type=float, default=mix.many_share, metavar="SHARE", help="of several images")
    parser.add_argument("--most-images", type=int, default=mix.most_images, metavar="N", help="that such jobs have")
    options = parser.parse_args(argv)
    if min(*options.workers, options.jobs, options.jobs_a_worker) < 1:
        parser.error("--workers, --jobs, --jobs-a-worker: must be 1 or more")
    try:
        Mix(options.fewest_steps, options.most_steps, options.many_share, options.most_images)
    except ValueError as error:
        parser.error(str(error))
    return options


def _hardware(text: str) -> Hardware:
    try:
        return Hardware.read(Path(text))
    except HardwareError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _table(text: str) -> Hardware:
    try:
        return Hardware("given times", read_step_seconds(text))
    except HardwareError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _load(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
