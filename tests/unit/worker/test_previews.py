"""Which previews are made, of whom and when, and that nobody else costs anything."""

from __future__ import annotations

import base64
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.unit.worker.samplers import SIZE, CountingSampler, make_engine, make_scheduler
from worker.directory_store import DirectoryStore
from worker.image_writer import ServedBundle
from worker.order_book import Succeeded
from worker.previews import PREVIEWS_A_SECOND, Pace, PreviewPlan
from worker.protocol import (
    Ended,
    GenerationRequest,
    JobMessage,
    Preview,
    Progress,
    ProtocolError,
    read_message,
    write_message,
)
from worker.trajectory import ImageKey, Trajectory
from worker.workshop import Workshop


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 20)), max_size=80))
def test_no_second_has_more_than_its_share(waits: list[tuple[float, int]]) -> None:
    pace, now, passed = Pace(10), 0.0, []
    for wait, wanted in waits:
        now += wait
        for _ in range(min(pace.room(now), wanted)):
            pace.let_pass(now)
            passed.append(now)
    for moment in passed:
        assert sum(moment <= other < moment + 1.0 for other in passed) <= 10


def test_the_pace_is_even() -> None:
    pace, passed = Pace(10), []
    for milliseconds in range(0, 3000, 14):
        if pace.room(milliseconds / 1000) > 0:
            pace.let_pass(milliseconds / 1000)
            passed.append(milliseconds)
    assert {later - earlier for earlier, later in itertools.pairwise(passed)} == {112}


def trajectories(job_id: str, seeds: range, position: int = 1) -> list[Trajectory]:
    rows = [Trajectory(ImageKey(seed, 20), {job_id}) for seed in seeds]
    for slot, row in enumerate(rows):
        row.admit(slot)
        row.advance(position)
    return rows


def test_all_images_of_a_job_have_their_turn() -> None:
    plan = PreviewPlan()
    assert plan.is_idle
    assert plan.watch(["a"]) == ["a"]
    assert plan.watch(["a"]) == []
    rows = trajectories("a", range(4))
    seeds = [shot.key.seed for tenth in range(12) for shot in plan.choose(rows, tenth / 9)]
    assert seeds[:8] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_a_slow_tick_shows_several_at_once() -> None:
    plan = PreviewPlan()
    plan.watch(["a"])
    rows = trajectories("a", range(8))
    shown = [len(plan.choose(rows, now)) for now in (0.0, 0.5, 1.0, 1.5, 2.0)]
    assert shown == [1, 5, 5, 5, 5]
    assert max(map(sum, itertools.pairwise(shown))) <= PREVIEWS_A_SECOND


def test_finished_images_come_first_and_once() -> None:
    plan = PreviewPlan()
    plan.watch(["a"])
    done, *going = trajectories("a", range(3))
    done.advance(19)
    (first,) = plan.choose([*going, done], 0.0)
    assert (first.key, first.steps_done, first.trajectory) == (done.key, 20, done)
    plan.finish("a", done.key)  # shown whole already
    plan.finish("a", ImageKey(9, 20))
    (second,) = plan.choose(going, 0.15)
    assert (second.key.seed, second.steps_done, second.trajectory) == (9, 20, None)
    (third,) = plan.choose(going, 0.3)
    assert third.trajectory in going


def test_jobs_that_nobody_watches_are_passed_over() -> None:
    plan = PreviewPlan()
    plan.watch(["a"])
    assert plan.choose(trajectories("b", range(4)), 0.0) == []
    plan.watch([])
    assert plan.is_idle
    plan.finish("a", ImageKey(1, 20))
    assert plan.choose(trajectories("a", range(4)), 1.0) == []


def test_many_watched_jobs_share_what_a_worker_can_encode() -> None:
    plan = PreviewPlan()
    names = [f"job{number}" for number in range(32)]
    plan.watch(names)
    rows = [row for name in names for row in trajectories(name, range(1))]
    shots = [shot for tick in range(200) for shot in plan.choose(rows, tick * 0.02)]
    assert 100 <= len(shots) <= 170
    assert {shot.job_id for shot in shots} == set(names)


def run(workshop: Workshop, job_id: str, request: GenerationRequest, watched: bool) -> list[tuple[str, Preview]]:
    previews: list[tuple[str, Preview]] = []
    workshop.enter(job_id, request)
    if watched:
        workshop.watch([job_id, "somebody-else"])
    while workshop.busy:
        workshop.turn(5)
        ends = workshop.take_ends()
        assert all(isinstance(end, Succeeded) for end in ends)
        previews += workshop.take_previews()
    workshop.watch([])
    return previews


@pytest.mark.parametrize("watched", [True, False])
def test_a_workshop_shows_what_it_computes_to_those_who_watch(tmp_path: Path, watched: bool) -> None:
    engine = make_engine(CountingSampler())
    served = ServedBundle("counting", 64 * "0", 12 * "0", SIZE)
    workshop = Workshop(engine, make_scheduler(engine), DirectoryStore(tmp_path), served)
    previews = run(workshop, "a", GenerationRequest(1000, 7, 2), watched)
    workshop.close()
    if not watched:
        assert previews == []
        return
    assert {job_id for job_id, _ in previews} == {"a"}
    first = previews[0][1]
    assert (first.steps_done, first.steps) == (1, 1000)
    for _, preview in previews:
        with Image.open(io.BytesIO(base64.b64decode(preview.png))) as image:
            assert (image.format, image.size) == ("PNG", (SIZE, SIZE))
            # The counting sampler adds one to its noise with each step.
            assert abs(np.median(np.asarray(image)) - min(preview.steps_done, 255)) < 3


@given(
    st.one_of(
        st.builds(Progress, st.integers(0, 64000), st.integers(0, 64)),
        st.builds(
            lambda seed, steps, png: Preview(seed, max(1, steps // 2), steps, base64.b64encode(png).decode()),
            st.integers(0, 2**53 - 1),
            st.integers(1, 1000),
            st.binary(min_size=1),
        ),
        st.just(Ended()),
    )
)
def test_messages_are_read_as_they_were_written(message: JobMessage) -> None:
    text = write_message(message)
    assert "\n" not in text
    assert read_message(text.encode()) == message


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\xff", b"[]", b"{}", b'{"progress": 1}', b'{"progress": {"steps_done": 1}}', b'{"ended": {}, "x": {}}',
        b'{"progress": {"steps_done": -1, "images_done": 0}}', b'{"other": {}}', b'{"ended": {"x": 1}}',
        b'{"preview": {"seed": 1, "steps_done": 3, "steps": 2, "png": "AAAA"}}',
        b'{"preview": {"seed": 1, "steps_done": 1, "steps": 2, "png": "A\\nA"}}',
    ],
)  # fmt: skip
def test_other_messages_are_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_message(text)
