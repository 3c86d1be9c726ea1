"""Three ways of batching under the same arrivals: services side by side, of which one at a time is given work."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.serve_client import MeasuredRun, offer
from benchmarks.serve_figures import Figures, figures, mean_step_seconds, tick_overhead
from benchmarks.serve_policies import ARMS, scheduler_maker
from benchmarks.serve_stack import Service
from benchmarks.serve_trace import SEEDS_APART, Arrival
from benchmarks.simulation import Simulation
from benchmarks.simulation_hardware import Hardware


@dataclasses.dataclass(frozen=True)
class LoadedRuns:
    """All rounds of the three arms at one load: measured, and the same arrivals simulated."""

    measured: dict[str, Figures]
    simulated: dict[str, Figures]


@contextlib.contextmanager
def services(folder: Path, bundle: Path | None, slots: int | None) -> Iterator[dict[str, Service]]:
    """A service for each arm, ready."""
    with contextlib.ExitStack() as stack:
        started = {arm: stack.enter_context(Service(folder / arm, arm=arm, bundle=bundle, slots=slots)) for arm in ARMS}
        for service in started.values():
            service.wait()
        yield started


def run_load(
    arms: Mapping[str, Service],
    traces: Sequence[Sequence[Arrival]],
    hardware: Mapping[str, Hardware],
    first_seed: int,
) -> LoadedRuns:
    """Gives each trace to each arm in turn, another arm first each time: a slow spell of the machine hits all.

    Args:
        arms: their services.
        traces: one for each round.
        hardware: what to simulate each arm with.
        first_seed: of the images; it and those that follow have been used nowhere yet.
    """
    runs: dict[str, list[MeasuredRun]] = {arm: [] for arm in arms}
    for number, trace in enumerate(traces):
        names = list(arms)
        for arm in names[number % len(names) :] + names[: number % len(names)]:
            runs[arm].append(offer(arms[arm], reseeded(trace, first_seed)))
        first_seed += len(trace) * SEEDS_APART
    measured = {
        arm: figures(
            [job for run in rounds for job in run.jobs],
            [tick for run in rounds for tick in run.ticks],
            sum(run.seconds for run in rounds),
        )
        for arm, rounds in runs.items()
    }
    return LoadedRuns(measured, {arm: _simulate(arm, traces, hardware[arm]) for arm in arms})


def run_paced(folder: Path, bundle: Path | None, trace: Sequence[Arrival], hardware: Hardware) -> LoadedRuns:
    """Gives a trace to all arms at once, with a network that sleeps as long as the hardware says.

    A machine sleeps longer than it is told to, and more so a busy one; so each arm is simulated with the average times
    of its own ticks and of what is between them. Who is served when, and how full the ticks are, is the simulation's.
    """
    measured, simulated = {}, {}
    with contextlib.ExitStack() as stack:
        arms = {
            arm: stack.enter_context(
                Service(folder / f"paced-{arm}", arm=arm, bundle=bundle, pace=hardware.step_seconds)
            )
            for arm in ARMS
        }
        for service in arms.values():
            service.wait()
        with ThreadPoolExecutor(len(arms)) as pool:
            runs = dict(zip(arms, pool.map(lambda service: offer(service, trace), arms.values()), strict=True))
    for arm, run in runs.items():
        measured[arm] = figures(run.jobs, run.ticks, run.seconds)
        as_it_was = dataclasses.replace(
            hardware,
            step_seconds={**hardware.step_seconds, **mean_step_seconds(run.ticks)},
            tick_overhead=tick_overhead(run.ticks),
        )
        simulated[arm] = _simulate(arm, [trace], as_it_was)
    return LoadedRuns(measured, simulated)


def reseeded(trace: Sequence[Arrival], first_seed: int) -> list[Arrival]:
    """The same arrivals, of other images: none is in a store already."""
    return [
        dataclasses.replace(arrival, seed=first_seed + number * SEEDS_APART) for number, arrival in enumerate(trace)
    ]


def _simulate(arm: str, traces: Sequence[Sequence[Arrival]], hardware: Hardware) -> Figures:
    runs = [Simulation(trace, scheduler_maker(arm), hardware).run() for trace in traces]
    return figures(
        [job for run in runs for job in run.jobs],
        [tick for run in runs for tick in run.ticks],
        sum(run.end for run in runs),
    )
