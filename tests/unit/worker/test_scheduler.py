"""The scheduler by itself: who gets a slot, and that nobody is forgotten."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.scheduler import Scheduler, Tick
from worker.trajectory import IllegalTransitionError, ImageKey, Trajectory, TrajectoryState

SLOT_COUNTS = (1, 2, 4, 8)


def like_a_cpu(slots: int) -> float:
    """An image more makes a tick longer in proportion."""
    return 0.010 * slots


def like_a_gpu(slots: int) -> float:
    """An image more costs nothing."""
    return 0.001


def scheduler(step_seconds: Callable[[int], float] = like_a_cpu, **options: object) -> Scheduler:
    return Scheduler(SLOT_COUNTS, step_seconds=step_seconds, **options)  # type: ignore[arg-type]


def images(first_seed: int, count: int, steps: int) -> list[ImageKey]:
    return [ImageKey(seed, steps) for seed in range(first_seed, first_seed + count)]


def run(planner: Scheduler, tick: Tick | None) -> list[Trajectory]:
    assert tick is not None
    return planner.commit(tick)


def jobs_in(tick: Tick | None) -> list[str]:
    assert tick is not None
    return sorted(job for trajectory in tick.trajectories for job in trajectory.jobs)


def test_nothing_to_do_is_no_tick() -> None:
    assert scheduler().plan() is None


def test_a_job_alone_has_all_the_slots() -> None:
    planner = scheduler()
    planner.enter("big", images(0, 64, 1000))
    tick = planner.plan()
    assert tick is not None
    assert len(tick.trajectories) == len(tick.rows) == 8


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 8)])
def test_the_smallest_batch_that_holds_all_is_used(count: int, rows: int) -> None:
    planner = scheduler()
    planner.enter("job", images(0, count, 5))
    tick = planner.plan()
    assert tick is not None
    assert len(tick.rows) == rows


def test_a_newcomer_joins_at_the_next_tick_though_all_slots_are_taken() -> None:
    planner = scheduler()
    planner.enter("big", images(0, 64, 1000))
    run(planner, planner.plan())
    planner.enter("small", images(100, 1, 10))
    assert "small" in jobs_in(planner.plan())


def test_beside_a_small_job_a_large_one_may_not_make_ticks_much_longer_on_a_cpu() -> None:
    planner = scheduler()
    planner.enter("big", images(0, 64, 1000))
    run(planner, planner.plan())
    planner.enter("small", images(100, 1, 10))
    for _ in range(10):
        tick = planner.plan()
        assert jobs_in(tick) == ["big", "small"]
        finished = run(planner, tick)
    assert [trajectory.key.seed for trajectory in finished] == [100]
    assert len(jobs_in(planner.plan())) == 8


def test_where_rows_cost_nothing_all_slots_are_used_beside_a_small_job_too() -> None:
    planner = scheduler(like_a_gpu)
    planner.enter("big", images(0, 64, 1000))
    planner.enter("small", images(100, 1, 10))
    assert sorted(set(jobs_in(planner.plan()))) == ["big", "small"]
    assert len(jobs_in(planner.plan())) == 8


def test_two_large_jobs_share_the_slots() -> None:
    planner = scheduler()
    planner.enter("one", images(0, 64, 100))
    planner.enter("two", images(100, 64, 100))
    jobs = jobs_in(planner.plan())
    assert jobs.count("one") == jobs.count("two") == 4


def test_the_shortest_go_first_when_slots_are_short() -> None:
    planner = scheduler()
    for job in range(20):
        planner.enter(f"job {job}", images(100 * job, 1, 20 - job))
    assert jobs_in(planner.plan()) == sorted(f"job {job}" for job in range(12, 20))


def test_a_long_job_is_not_starved_by_a_stream_of_short_ones() -> None:
    planner = scheduler(ageing=0.25)
    planner.enter("long", images(0, 1, 200))
    served, seed = 0, 1000
    while planner.remaining_of("long"):
        while len(planner.jobs) < 20:  # more than there are slots, always
            seed += 1
            planner.enter(f"short {seed}", images(seed, 1, 5))
        tick = planner.plan()
        assert tick is not None
        served += len(tick.trajectories) * tick.steps
        run(planner, tick)
        # With an ageing of 1/4 its turn comes after 4 x 200 image-steps for others; then it needs 200 ticks of 8 rows.
        assert served < 4 * 200 + 8 * 200 + 100


def test_images_that_have_begun_go_on_before_others_of_their_job_begin() -> None:
    planner = scheduler()
    planner.enter("big", images(0, 64, 10))
    first = planner.plan()
    assert first is not None
    planner.enter("small", images(1000, 1, 1))
    run(planner, first)
    run(planner, planner.plan())  # beside the small one, most are parked
    second = planner.plan()
    assert second is not None
    assert {row.key for row in second.trajectories} == {row.key for row in first.trajectories}


def test_who_has_a_slot_keeps_it() -> None:
    planner = scheduler(like_a_gpu)
    planner.enter("a", images(0, 3, 10))
    first = planner.plan()
    assert first is not None
    slots = {row.key: row.slot for row in first.trajectories}
    run(planner, first)
    planner.enter("b", images(10, 1, 10))
    second = planner.plan()
    assert second is not None
    assert {key: second.rows.index(row) for row in second.trajectories if (key := row.key) in slots} == slots


def test_an_image_two_jobs_want_is_computed_once() -> None:
    planner = scheduler()
    planner.enter("a", images(0, 2, 3))
    planner.enter("b", images(1, 2, 3))
    tick = planner.plan()
    assert tick is not None
    assert len(tick.trajectories) == 3
    planner.cancel("a")
    assert [trajectory.key.seed for trajectory in planner.trajectories] == [1, 2]
    finished = []
    while (tick := planner.plan()) is not None:
        finished += run(planner, tick)
    assert sorted(trajectory.key.seed for trajectory in finished) == [1, 2]


def test_the_same_image_twice_in_a_job_is_one() -> None:
    planner = scheduler()
    planner.enter("a", [ImageKey(1, 5), ImageKey(1, 5)])
    assert len(planner.trajectories) == 1


def test_a_job_canceled_during_a_tick_is_passed_over() -> None:
    planner = scheduler()
    planner.enter("a", images(0, 2, 1))
    planner.enter("b", images(5, 1, 1))
    tick = planner.plan()
    planner.cancel("a")
    assert [trajectory.key.seed for trajectory in run(planner, tick)] == [5]
    assert planner.plan() is None


def test_a_job_canceled_and_asked_for_anew_begins_at_its_beginning() -> None:
    planner = scheduler()
    planner.enter("a", images(0, 1, 5))
    run(planner, planner.plan())
    tick = planner.plan()
    planner.cancel("a")
    planner.enter("a", images(0, 1, 5))
    run(planner, tick)
    assert planner.remaining_of("a") == 5


def test_a_tick_ends_where_a_slot_becomes_free_for_who_waits() -> None:
    planner = Scheduler((4,), (1, 2, 4, 8), step_seconds=like_a_gpu, longest_tick=1.0)
    planner.enter("a", images(0, 5, 13))
    steps = []
    while (tick := planner.plan()) is not None and tick.trajectories[0].key.seed == 0:
        steps.append(tick.steps)
        run(planner, tick)
    assert steps == [8, 4, 1], "four of the five are done as soon as can be, and the fifth comes in"
    assert tick is not None
    assert [row.key.seed for row in tick.trajectories] == [4]


def test_who_comes_gets_a_slot_at_the_next_tick_however_many_wait() -> None:
    planner = Scheduler((4,), (1, 2, 4, 8), step_seconds=like_a_gpu, longest_tick=1.0)
    planner.enter("a", images(0, 9, 100))
    run(planner, planner.plan())
    planner.enter("b", images(20, 1, 3))
    tick = planner.plan()
    assert tick is not None
    assert 20 in [row.key.seed for row in tick.trajectories]
    assert tick.steps == 2


def test_no_tick_is_longer_than_the_shortest_row_or_the_limit() -> None:
    planner = Scheduler((4,), (1, 2, 4, 8), step_seconds=like_a_gpu, longest_tick=0.005)
    planner.enter("a", images(0, 1, 100))
    assert (tick := planner.plan()) is not None
    assert tick.steps == 4
    planner.enter("b", images(10, 1, 3))
    assert (tick := planner.plan()) is not None
    assert tick.steps == 2


def test_slots_can_be_limited() -> None:
    planner = scheduler()
    planner.enter("a", images(0, 8, 5))
    run(planner, planner.plan())
    planner.limit_slots(4)
    assert planner.slots == 4
    assert (tick := planner.plan()) is not None
    assert len(tick.rows) == 4
    planner.limit_slots(0)
    assert planner.slots == 1, "fewer than the smallest there is cannot be"


def test_a_job_may_want_more_later_but_never_nothing() -> None:
    planner = scheduler()
    planner.enter("a", images(0, 2, 3))
    planner.enter("a", images(1, 2, 3))
    assert planner.jobs == ("a",)
    assert planner.remaining_of("a") == 9
    with pytest.raises(ValueError, match="no image"):
        planner.enter("b", [])
    planner.cancel("nobody")
    assert planner.jobs == ("a",)


def test_a_trajectory_refuses_what_its_state_does_not_allow() -> None:
    trajectory = Trajectory(ImageKey(1, 2))
    with pytest.raises(IllegalTransitionError):
        trajectory.advance(1)
    trajectory.admit(0)
    with pytest.raises(IllegalTransitionError):
        trajectory.advance(3)
    trajectory.advance(2)
    assert trajectory.state is TrajectoryState.FINISHED
    assert trajectory.state.is_terminal
    for verb in (lambda: trajectory.admit(0), trajectory.park, trajectory.cancel, lambda: trajectory.advance(1)):
        with pytest.raises(IllegalTransitionError):
            verb()


class SchedulerMachine(RuleBasedStateMachine):
    """Random coming, going and ticking, against a book kept by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.planner = Scheduler(SLOT_COUNTS, (1, 2, 4), step_seconds=like_a_cpu, longest_tick=0.2)
        self.wanted: dict[str, set[ImageKey]] = {}
        self.position: dict[ImageKey, int] = {}
        self.tick: Tick | None = None
        self.dropped: set[int] = set()
        self.number = 0

    @rule(seed=st.integers(0, 12), count=st.integers(1, 12), steps=st.sampled_from([1, 2, 3, 7]))
    def enter(self, seed: int, count: int, steps: int) -> None:
        self.number += 1
        keys = images(seed, count, steps)
        self.planner.enter(f"job {self.number}", keys)
        self.wanted[f"job {self.number}"] = set(keys)
        for key in keys:
            self.position.setdefault(key, 0)

    @precondition(lambda self: self.wanted)
    @rule(choice=st.integers(0, 1000))
    def cancel(self, choice: int) -> None:
        job = sorted(self.wanted)[choice % len(self.wanted)]
        self.planner.cancel(job)
        gone = self.wanted.pop(job)
        for key in gone - set().union(*self.wanted.values(), set()):
            del self.position[key]
            if self.tick is not None:
                self.dropped |= {id(row) for row in self.tick.trajectories if row.key == key}

    @precondition(lambda self: self.tick is None)
    @rule()
    def plan(self) -> None:
        self.tick = self.planner.plan()
        self.dropped = set()
        assert (self.tick is None) == (not self.position)
        if self.tick is not None:
            rows = self.tick.trajectories
            assert 0 < len(rows) <= len(self.tick.rows) <= 8
            assert len({row.key for row in rows}) == len(rows)
            assert all(self.tick.rows[row.slot] is row for row in rows if row.slot is not None)
            assert all(row.slot is not None for row in rows)
            assert all(self.tick.steps <= row.remaining for row in rows)
            # Everyone has a share: nobody has two slots while a job without any waits for one of its own.
            if len(self.wanted) <= 8:
                assert {job for row in rows for job in row.jobs} == set(self.wanted)

    @precondition(lambda self: self.tick is not None)
    @rule()
    def commit(self) -> None:
        assert self.tick is not None
        finished = {trajectory.key for trajectory in self.planner.commit(self.tick)}
        expected = set()
        for row in self.tick.trajectories:
            if id(row) not in self.dropped:
                self.position[row.key] += self.tick.steps
                if self.position[row.key] == row.key.steps:
                    expected.add(row.key)
        assert finished == expected
        for key in finished:
            del self.position[key]
        self.wanted = {job: keys - finished for job, keys in self.wanted.items() if keys - finished}
        self.tick = None

    @precondition(lambda self: self.tick is not None)
    @rule()
    def lose_the_tick(self) -> None:
        """It failed as a whole: nothing was committed."""
        self.tick = None

    @invariant()
    def the_books_agree(self) -> None:
        assert set(self.planner.jobs) == set(self.wanted)
        assert {trajectory.key: trajectory.position for trajectory in self.planner.trajectories} == self.position
        for job, keys in self.wanted.items():
            assert self.planner.remaining_of(job) == sum(key.steps - self.position[key] for key in keys)
        slots = [trajectory.slot for trajectory in self.planner.trajectories if trajectory.slot is not None]
        assert len(set(slots)) == len(slots)
        assert self.planner.remaining_image_steps == sum(key.steps - done for key, done in self.position.items())

    def teardown(self) -> None:
        """Whatever has happened, all that is left can be brought to its end."""
        ticks = 0
        while (tick := self.planner.plan()) is not None:
            self.planner.commit(tick)
            ticks += 1
            assert ticks < 10_000
        assert self.planner.jobs == ()


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 30)), min_size=1, max_size=30))
def test_every_image_is_finished_once_after_just_its_steps(jobs: list[tuple[int, int]]) -> None:
    planner = scheduler()
    for number, (count, steps) in enumerate(jobs):
        planner.enter(str(number), images(100 * number, count, steps))
    steps_taken: dict[ImageKey, int] = {}
    finished: list[ImageKey] = []
    while (tick := planner.plan()) is not None:
        for row in tick.trajectories:
            steps_taken[row.key] = steps_taken.get(row.key, 0) + tick.steps
        finished += [trajectory.key for trajectory in planner.commit(tick)]
    assert len(finished) == len(set(finished)) == sum(count for count, _ in jobs)
    assert all(taken == key.steps for key, taken in steps_taken.items())
