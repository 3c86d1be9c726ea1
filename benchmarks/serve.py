"""``bouquet bench serve``: the service under load, in three ways of batching, and what its parts cost.

Takes some four minutes. Every arm is the real service: HTTP front end, Valkey and worker process, with nothing but the
scheduler exchanged.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import report
from benchmarks.serve_arms import run_load, run_paced, services
from benchmarks.serve_beside import SMALL_STEPS, measure_beside
from benchmarks.serve_client import offer
from benchmarks.serve_figures import Figures, tick_overhead
from benchmarks.serve_memory import LOT, measure_growth
from benchmarks.serve_policies import ARMS, BATCHES, CONTINUOUS
from benchmarks.serve_posts import measure_posts
from benchmarks.serve_queue_cost import jobs_per_second, measure_queue_cost
from benchmarks.serve_stack import Service
from benchmarks.serve_trace import SHORT_STEPS, Mix, draw_trace
from benchmarks.simulation_hardware import Hardware

PARTS = ("arms", "simulation", "queue", "posts")
"""What is measured unless parts are named."""

MORE_PARTS = ("memory",)
PACE = {1: 0.015, 2: 0.02, 4: 0.025, 8: 0.035}
"""Seconds a step of the network that sleeps."""
_PACED_LOAD = 0.8
_SEEDS_A_PART = 10**9
_POST_CLIENTS = 32
_WARM_UP_POSTS = 200


def main(argv: Sequence[str] = ()) -> int:
    """Print the tables of all parts, or of those that are named."""
    options = _parse(argv)
    with TemporaryDirectory(prefix="bouquet-bench-") as folder:
        if "arms" in options.parts:
            _arms(options, Path(folder))
        if "simulation" in options.parts:
            _simulation(options, Path(folder))
        if "queue" in options.parts:
            _queue(options, Path(folder))
        if "posts" in options.parts:
            _posts(options, Path(folder))
        if "memory" in options.parts:
            _memory(options, Path(folder))
    return 0


def _arms(options: argparse.Namespace, folder: Path) -> None:
    # TensorFlow is needed for the bare sampler alone, and takes seconds.
    from benchmarks.serve_saturated import BareSampler, Saturated, measured_hardware
    from benchmarks.subject import default_bundle
    from model.bundle import load_bundle
    from worker.opening import choose_slot_counts, has_accelerator

    mix = Mix()
    bundle = load_bundle(options.bundle) if options.bundle else default_bundle()
    bare = BareSampler(bundle, choose_slot_counts(options.slots, has_accelerator()))
    with services(folder, options.bundle, options.slots) as arms:
        seeds = iter(range(0, 2**52, _SEEDS_A_PART))
        beside = measure_beside(arms[CONTINUOUS], next(seeds), options.beside)
        bare.measure()
        slots = max(bare.step_seconds())
        jobs = max(
            2 * slots, round(options.backlog_seconds * slots / bare.step_seconds()[slots] / mix.mean_image_steps)
        )
        backlog = draw_trace(
            mix, min(jobs, options.most_jobs), options.seed, image_steps_per_second=math.inf, first_seed=next(seeds)
        )
        saturated = {}
        for arm, service in arms.items():
            saturated[arm] = Saturated.of(offer(service, backlog, all_waiting=True))
            bare.measure()
        step_seconds = bare.step_seconds()
        most = saturated[CONTINUOUS]
        alone = SMALL_STEPS * (step_seconds[min(step_seconds)] + tick_overhead(most.ticks))
        delay = max(0.0, statistics.median(beside.alone) - alone)
        machines = measured_hardware(report.machine(), list(saturated.values()), step_seconds, delay)
        hardware = dict(zip(saturated, machines, strict=True))
        _write(options, hardware[CONTINUOUS])
        report.heading(f"Serve: most that a worker can do, {len(backlog)} jobs waiting, bundle {bundle.name}")
        report.table(
            ("arm", "image-steps/s", "fill", "of the bare sampler's rate with the same batches"),
            [
                (ARMS[arm], run.image_steps_per_second, run.fill, run.share_of_bare(step_seconds))
                for arm, run in saturated.items()
            ],
        )
        for load in options.loads:
            rate = load * most.image_steps_per_second
            jobs = max(4, round(rate * options.seconds / options.rounds / mix.mean_image_steps))
            traces = [
                draw_trace(mix, min(jobs, options.most_jobs), options.seed + number, image_steps_per_second=rate)
                for number in range(options.rounds)
            ]
            runs = run_load(arms, traces, hardware, next(seeds))
            report.heading(f"Serve: Poisson arrivals at {load:.0%} of that, {options.rounds} rounds in turns")
            _print_figures(runs.measured)
            report.plain_heading(f"Serve: the same arrivals at {load:.0%}, simulated from the backlog's ticks")
            _print_figures(runs.simulated)
    report.heading(f"Serve: {SMALL_STEPS} steps of one image, alone and beside 64 x 1000, {options.beside} times each")
    report.table(
        ("", "median s", "longest s"),
        [
            ("alone", statistics.median(beside.alone), max(beside.alone)),
            ("beside", statistics.median(beside.beside), max(beside.beside)),
            ("times as long", beside.ratio, max(beside.beside) / statistics.median(beside.alone)),
        ],
    )


def _simulation(options: argparse.Namespace, folder: Path) -> None:
    hardware = Hardware("a network that sleeps", PACE)
    jobs = round(options.simulation_seconds * _PACED_LOAD * hardware.image_steps_per_second / Mix().mean_image_steps)
    rate = _PACED_LOAD * hardware.image_steps_per_second
    trace = draw_trace(Mix(), jobs, options.seed, image_steps_per_second=rate)
    report.heading(f"Serve: {jobs} arrivals at a network that sleeps, measured (all arms at once)")
    runs = run_paced(folder, options.bundle, trace, hardware)
    _print_figures(runs.measured)
    report.plain_heading("Serve: the same, simulated")
    _print_figures(runs.simulated)


def _print_figures(arms: dict[str, Figures]) -> None:
    columns = (
        "arm",
        "images/s",
        "image-steps/s",
        "p50 s",
        "p99 s",
        "short p50",
        "short p99",
        "to admission p50",
        "p99",
    )
    rows = [
        (
            ARMS[arm],
            f.images_per_second,
            f.image_steps_per_second,
            f.p50,
            f.p99,
            f.short_p50,
            f.short_p99,
            f.admission_p50,
            f.admission_p99,
            f.fill,
        )
        for arm, f in arms.items()
    ]
    report.table((*columns, "fill"), rows)
    one, other = arms[CONTINUOUS], arms[BATCHES]
    print(
        f"{one.jobs} jobs an arm, {one.short_jobs} of them short (up to {SHORT_STEPS} steps). Their p99: "
        f"{one.short_p99 / other.short_p99:.2f} of that of request-level batches.\n"
    )


def _queue(options: argparse.Namespace, folder: Path) -> None:
    report.heading("Serve: jobs of one step through one worker whose network costs nothing")
    rows = []
    with Service(
        folder / "queue", bundle=options.bundle, slots=options.slots, instant=True, front_end=False
    ) as service:
        service.wait()
        jobs_per_second(service, options.queue_jobs // 10, 1, 0)  # warms up
        for number, count in enumerate((1, 8), start=1):
            jobs = options.queue_jobs // count
            cost = measure_queue_cost(service, jobs, count, number * _SEEDS_A_PART)
            rate = cost.jobs_per_second
            rows.append((count, jobs, rate, rate * count, 1e3 * cost.worker, 1e3 * cost.queue))
    columns = ("images a job", "jobs", "jobs/s", "images/s", "processor ms a job, worker", "queue")
    report.table(columns, rows)


def _memory(options: argparse.Namespace, folder: Path) -> None:
    report.heading(f"Serve: memory of a worker after each {LOT} jobs, with a network that costs nothing")
    with Service(
        folder / "memory", bundle=options.bundle, slots=options.slots, instant=True, front_end=False
    ) as service:
        service.wait()
        growth = measure_growth(service, options.memory_jobs)
    rows = [(LOT * (number + 1), mib) for number, mib in enumerate(growth.resident)]
    report.table(("jobs", "resident MiB"), rows)
    print(f"At most {growth.share:.1%} more than after the first {LOT}.\n")


def _posts(options: argparse.Namespace, folder: Path) -> None:
    report.heading(f"Serve: posts that a front end accepts, {_POST_CLIENTS} clients and the queue on the same cores")
    rows = []
    for turn in range(options.post_turns):
        for processes in options.api_processes:
            with Service(folder / f"posts-{turn}-{processes}", worker=False, processes=processes) as service:
                service.wait()
                measure_posts(service.port, _WARM_UP_POSTS, _POST_CLIENTS, 0)
                before = service.cpu_seconds("api")
                posts = measure_posts(service.port, options.posts, _POST_CLIENTS, _SEEDS_A_PART)
                processor = (service.cpu_seconds("api") - before) / posts.posts
            rows.append((processes, posts.posts, posts.per_second, 1e3 * posts.p50, 1e3 * posts.p99, 1e3 * processor))
    columns = ("processes of the API", "posts", "accepted/s", "p50 ms", "p99 ms", "processor ms a post, front end")
    report.table(columns, rows)


def _write(options: argparse.Namespace, hardware: Hardware) -> None:
    if options.hardware_out is not None:
        options.hardware_out.write_text(hardware.to_json(), encoding="utf-8")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bouquet bench serve", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS + MORE_PARTS, default=PARTS, help="what to measure (all but memory)"
    )
    parser.add_argument("--bundle", type=Path, help="what is served (the bundle that ships)")
    parser.add_argument("--slots", type=int, help="BOUQUET_SLOTS (the worker's default)")
    parser.add_argument(
        "--loads", type=float, nargs="+", default=[0.8], metavar="L", help="of what the product can do (0.8)"
    )
    parser.add_argument(
        "--seconds", type=float, default=25.0, metavar="S", help="of arrivals, for each arm and load (25)"
    )
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="turns of the arms at each load (2)")
    parser.add_argument("--backlog-seconds", type=float, default=10.0, metavar="S", help="of work, for each arm (10)")
    parser.add_argument("--most-jobs", type=int, default=1000, metavar="N", help="in one trace (1000)")
    parser.add_argument("--beside", type=int, default=5, metavar="N", help="small jobs beside the huge one (5)")
    parser.add_argument(
        "--simulation-seconds", type=float, default=15.0, metavar="S", help="of arrivals, to check the simulation (15)"
    )
    parser.add_argument("--queue-jobs", type=int, default=3000, metavar="N", help="for the cost of the queue (3000)")
    parser.add_argument("--memory-jobs", type=int, default=20_000, metavar="N", help="for the memory (20000)")
    parser.add_argument("--posts", type=int, default=5000, metavar="N", help="to the front end (5000)")
    parser.add_argument(
        "--api-processes", type=int, nargs="+", default=[1, 2], metavar="N", help="processes of the front end (1 2)"
    )
    parser.add_argument("--post-turns", type=int, default=2, metavar="N", help="of front ends with so many (2)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of arrivals and requests (1)")
    parser.add_argument("--hardware-out", type=Path, metavar="FILE", help="writes tick times for `bench simulate`")
    options = parser.parse_args(argv)
    least = [options.rounds, options.beside, options.posts, options.post_turns, *options.api_processes]
    least.append(options.queue_jobs // 10)
    if min(options.loads) <= 0 or min(least) < 1:
        parser.error("--loads, --rounds, --beside, --posts, --post-turns, --api-processes, --queue-jobs: too small")
    return options
