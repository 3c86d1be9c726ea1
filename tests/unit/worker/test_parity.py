"""The same pixels: a row of a crowded, mixed batch is bit for bit the image that the sampler makes alone."""

import numpy as np
import numpy.typing as npt
import pytest

from model.bundle import Bundle, load_bundle
from model.classes import class_of, class_weights, class_weights_between, with_class_weights
from model.noise import noise_between, starting_noise
from model.sampling import Sampler
from model.schedule import Schedule
from tests.bundles import make_tiny_bundle
from worker.engine import Engine, Pixels
from worker.protocol import SAMPLERS, GenerationRequest, SamplerName
from worker.scheduler import Scheduler
from worker.trajectory import ImageKey, Trajectory

SLOT_COUNTS = (1, 2, 4, 8)


@pytest.fixture(scope="module", params=[0, 3], ids=["without classes", "with classes, guided"])
def tiny_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("bundle") / "tiny.safetensors"
    return load_bundle(make_tiny_bundle(path, classes=request.param))


@pytest.fixture(scope="module")
def sampler(tiny_bundle: Bundle) -> Sampler:
    return Sampler(tiny_bundle)


@pytest.fixture(scope="module")
def engine(tiny_bundle: Bundle, sampler: Sampler) -> Engine:
    bundle = tiny_bundle
    engine = Engine(
        sampler,
        bundle.schedule,
        bundle.image_size,
        SLOT_COUNTS,
        class_counts=bundle.class_counts,
        class_names=bundle.class_names,
    )
    engine.warm_up()
    return engine


class Crowd:
    """Drives engine and scheduler, and keeps what they finish and where everyone has been."""

    def __init__(self, engine: Engine, cost_of_a_row: float) -> None:
        self.engine = engine
        self.scheduler = Scheduler(SLOT_COUNTS, step_seconds=lambda slots: 0.001 + cost_of_a_row * slots)
        self.done: dict[ImageKey, Pixels] = {}
        self.slots: set[int] = set()
        self.sizes: set[int] = set()
        self.moved: set[ImageKey] = set()
        self._seen: dict[Trajectory, int | None] = {}

    def tick(self) -> None:
        plan = self.scheduler.plan()
        if plan is None:
            return
        self.sizes.add(len(plan.rows))
        for row in plan.trajectories:
            assert row.slot is not None
            self.slots.add(row.slot)
            if self._seen.setdefault(row, row.slot) != row.slot:
                self.moved.add(row.key)
            self._seen[row] = row.slot
        outcome = self.engine.run(plan)
        self.engine.commit(outcome)
        finished = self.scheduler.commit(plan)
        for trajectory, pixels in zip(finished, self.engine.pixels(outcome, finished), strict=True):
            self.done[trajectory.key] = pixels


@pytest.mark.parametrize(("seed", "cost_of_a_row"), [(1, 0.0), (2, 0.01)], ids=["like a GPU", "like a CPU"])
def test_a_crowded_mixed_batch_gives_everyones_own_bits(
    engine: Engine, sampler: Sampler, seed: int, cost_of_a_row: float
) -> None:
    random = np.random.default_rng(seed)
    crowd = Crowd(engine, cost_of_a_row)
    wanted: list[ImageKey] = []
    for number in range(16):
        steps = int(random.integers(1, 51))
        seeds = [int(random.integers(0, 2**53)) + k for k in range(int(random.integers(1, 4)))]
        keys = [ImageKey(seed, steps, SAMPLERS[number % 2]) for seed in seeds]
        crowd.scheduler.enter(str(number), keys)
        wanted += keys
        for _ in range(int(random.integers(0, 12))):
            crowd.tick()
    while crowd.scheduler.jobs:
        crowd.tick()
    assert crowd.slots == set(range(8)), "not every slot was used"
    assert crowd.sizes >= {2, 4, 8}, "not every batch size was used"
    assert crowd.moved, "nobody was ever moved to another slot"
    assert sorted(crowd.done) == sorted(wanted)
    for key in wanted:
        alone = sampler.sample([key.seed], key.steps, key.sampler)[0]
        np.testing.assert_array_equal(crowd.done[key], alone, err_msg=f"{key}")


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_a_row_has_the_same_floats_in_a_batch_of_any_size(tiny_bundle: Bundle, sampler: Sampler, count: int) -> None:
    """Stricter than pixels, whose rounding to 8 bits would hide most differences."""
    images = np.stack([starting_noise(seed, tiny_bundle.image_size) for seed in range(count)])
    counts, schedule = tiny_bundle.class_counts, tiny_bundle.schedule
    rates = np.stack(
        [
            with_class_weights(schedule.step_rates(seed + 1, "multistep")[-1], class_weights(seed, counts))
            for seed in range(count)
        ]
    )
    last_images = images * 0.5
    together = [np.asarray(array) for array in sampler.advance(images, last_images, rates[None])]
    for row in range(count):
        here = slice(row, row + 1)
        alone = sampler.advance(images[here], last_images[here], rates[None, here])
        for array, lonely in zip(together, alone, strict=True):
            np.testing.assert_array_equal(array[row : row + 1], np.asarray(lonely))


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_morph_and_a_flower_on_its_way_have_their_own_bits_too(
    engine: Engine, sampler: Sampler, tiny_bundle: Bundle, kind: SamplerName
) -> None:
    morph = GenerationRequest(6, 900, 5, kind, toward=32)
    looks = [GenerationRequest(6, 900, 1, kind, after=after) for after in (1, 3, 5)]
    crowd = Crowd(engine, 0.0)
    for number, request in enumerate([morph, *looks, GenerationRequest(9, 1, 4)]):
        crowd.scheduler.enter(str(number), request.image_keys)
        crowd.tick()
    while crowd.scheduler.jobs:
        crowd.tick()

    counts = tiny_bundle.class_counts
    if counts:
        assert class_of(900, counts) != class_of(32, counts), "a morph within one class shows less"

    def way(noise: npt.NDArray[np.float32], told: npt.NDArray[np.float32]) -> list[Pixels]:
        images, predicted, seen = noise[None], np.zeros_like(noise[None]), []
        for rates in with_class_weights(tiny_bundle.schedule.step_rates(6, kind), told):
            images, predicted = sampler.advance(images, predicted, rates[None, None])
            seen.append(sampler.to_uint8(predicted)[0])
        return seen

    frames = [crowd.done[key] for key in morph.image_keys]
    for part, frame in enumerate(frames):
        noise = noise_between(900, 32, part, 4, tiny_bundle.image_size)
        told = class_weights_between(900, 32, part, 4, counts)
        np.testing.assert_array_equal(frame, way(noise, told)[-1], err_msg=f"{part}")
    np.testing.assert_array_equal([frames[0], frames[-1]], sampler.sample([900, 32], 6, kind))
    for look in looks:
        assert look.after is not None
        expected = way(starting_noise(900, tiny_bundle.image_size), class_weights(900, counts))[look.after - 1]
        np.testing.assert_array_equal(crowd.done[look.image_keys[0]], expected)


def test_a_kind_that_is_asked_for_has_the_bits_that_it_has_alone(
    engine: Engine, sampler: Sampler, tiny_bundle: Bundle
) -> None:
    if not tiny_bundle.class_names:
        with pytest.raises(ValueError, match="knows no kinds of flowers at all"):
            sampler.sample([1], 5, "ddim", "kind 1")
        return
    crowd = Crowd(engine, 0.0)
    asked = {kind: GenerationRequest(5, 1, 4, kind=kind) for kind in tiny_bundle.class_names}
    crowd.scheduler.enter("any", GenerationRequest(5, 1, 4).image_keys)
    for kind, request in asked.items():
        crowd.scheduler.enter(kind, request.image_keys)
    morph = GenerationRequest(5, 1, 3, toward=2, kind="kind 1")
    crowd.scheduler.enter("morph", morph.image_keys)
    while crowd.scheduler.jobs:
        crowd.tick()

    for kind, request in asked.items():
        found = [crowd.done[key] for key in request.image_keys]
        np.testing.assert_array_equal(found, sampler.sample(range(1, 5), 5, "ddim", kind))
    for seed in range(1, 5):
        drawn = tiny_bundle.class_names[class_of(seed, tiny_bundle.class_counts)]
        as_drawn = [crowd.done[ImageKey(seed, 5)], crowd.done[ImageKey(seed, 5, kind=drawn)]]
        np.testing.assert_array_equal(*as_drawn)
        others = [crowd.done[ImageKey(seed, 5, kind=kind)] for kind in asked if kind != drawn]
        assert all(not np.array_equal(other, as_drawn[0]) for other in others)
    ends = [crowd.done[morph.image_keys[0]], crowd.done[morph.image_keys[-1]]]
    np.testing.assert_array_equal(ends, sampler.sample([1, 2], 5, "ddim", "kind 1"))


def test_the_images_differ_at_all(sampler: Sampler) -> None:
    """Or the test above could not fail."""
    assert not np.array_equal(sampler.sample([1], 5), sampler.sample([2], 5))
    assert not np.array_equal(sampler.sample([1], 5), sampler.sample([1], 6))
    assert not np.array_equal(sampler.sample([1], 5), sampler.sample([1], 5, "multistep"))


def test_rows_that_nobody_has_stay_as_they_are(tiny_bundle: Bundle, sampler: Sampler) -> None:
    counts = tiny_bundle.class_counts
    engine = Engine(sampler, Schedule(), tiny_bundle.image_size, (4,), class_counts=counts)
    scheduler = Scheduler((4,), step_seconds=lambda slots: 0.001)
    scheduler.enter("short", [ImageKey(1, 1)])
    scheduler.enter("long", [ImageKey(2, 100)])
    while scheduler.jobs:
        plan = scheduler.plan()
        assert plan is not None
        outcome = engine.run(plan)
        engine.commit(outcome)
        scheduler.commit(plan)
    canvas = np.asarray(outcome.canvas.noisy)
    mine = [row is not None for row in plan.rows]
    # Nobody looks at the others; but numbers that grow from tick to tick end as no numbers at all.
    assert np.abs(canvas[~np.array(mine)]).max() < 1000.0
