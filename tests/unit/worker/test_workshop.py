"""The workshop by hand: with a store in a folder, and samplers that count."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.processes import poll
from tests.unit.worker.samplers import (
    SIZE,
    BrokenSampler,
    CountingSampler,
    HeldSampler,
    PoisonedSampler,
    SmallDeviceSampler,
    make_engine,
    make_scheduler,
)
from worker.directory_store import DirectoryStore
from worker.engine import EngineError
from worker.image_writer import ServedBundle
from worker.order_book import Failed, JobEnd, Succeeded
from worker.png import encode_png
from worker.protocol import GenerationRequest, Progress, image_name
from worker.store import StoreError
from worker.trajectory import ImageKey
from worker.workshop import Workshop

BUNDLE = ServedBundle("counting", "ab" * 32, "abababababab", SIZE)


class MemoryStore:
    """A store in memory that can be told to refuse, and to keep writers waiting."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.refuses = False
        self.open = threading.Event()
        self.open.set()

    def put(self, name: str, data: bytes) -> None:
        assert self.open.wait(10)
        self.puts.append(name)
        if self.refuses:
            raise StoreError("the disk is full")
        self.images[name] = data

    def get(self, name: str) -> bytes | None:
        return self.images.get(name)

    def exists(self, name: str) -> bool:
        return name in self.images

    def delete(self, name: str) -> None:
        self.images.pop(name, None)


class Bench:
    """A workshop with what is around it."""

    def __init__(self, sampler: CountingSampler, patience: float = 0.0) -> None:
        self.sampler = sampler
        self.store = MemoryStore()
        self.engine = make_engine(sampler)
        self.workshop = Workshop(self.engine, make_scheduler(self.engine), self.store, BUNDLE, store_patience=patience)

    def turn(self) -> list[JobEnd]:
        self.workshop.turn(0.05)
        return self.workshop.take_ends()

    def run(self) -> dict[str, JobEnd]:
        ends: dict[str, JobEnd] = {}

        def done() -> bool:
            ends.update({end.job_id: end for end in self.turn()})
            return not self.workshop.busy

        poll(done, "the workshop is done")
        return ends

    def look_on(self) -> dict[str, JobEnd]:
        """The same, while the workshop's own thread runs the ticks."""
        ends: dict[str, JobEnd] = {}

        def done() -> bool:
            self.workshop.wait(0.05)
            ends.update({end.job_id: end for end in self.workshop.take_ends()})
            return not self.workshop.busy

        poll(done, "the workshop is done")
        return ends


@pytest.fixture
def benches() -> Iterator[list[Bench]]:
    made: list[Bench] = []
    yield made
    for bench in made:
        bench.store.open.set()
        bench.workshop.close()


def bench(benches: list[Bench], sampler: CountingSampler | None = None, patience: float = 0.0) -> Bench:
    benches.append(Bench(sampler or CountingSampler(), patience))
    return benches[-1]


def test_a_request_becomes_images_in_the_store(benches: list[Bench]) -> None:
    made = bench(benches)
    made.workshop.enter("job", GenerationRequest(5, 10, 3))
    end = made.run()["job"]
    assert isinstance(end, Succeeded)
    assert [image.seed for image in end.result.images] == [10, 11, 12]
    assert [image.name for image in end.result.images] == [image_name("abababababab", seed, 5) for seed in (10, 11, 12)]
    assert sorted(made.store.images) == [image.name for image in end.result.images]
    assert end.result.run_seconds > 0


def test_what_is_in_the_store_is_not_computed(benches: list[Bench]) -> None:
    made = bench(benches)
    planted = encode_png(np.zeros((SIZE, SIZE, 3), np.uint8), {})
    made.store.images[image_name("abababababab", 11, 5)] = planted
    made.workshop.enter("job", GenerationRequest(5, 10, 3))
    end = made.run()["job"]
    assert isinstance(end, Succeeded)
    assert end.result.images[1].bytes == len(planted)
    assert len(made.store.puts) == 2
    made.workshop.enter("again", GenerationRequest(5, 10, 3))
    made.sampler.batches.clear()
    assert isinstance(made.run()["again"], Succeeded)
    assert made.sampler.batches == []


def test_two_jobs_at_once_share_their_images(benches: list[Bench]) -> None:
    made = bench(benches)
    made.workshop.enter("one", GenerationRequest(5, 10, 3))
    made.workshop.enter("two", GenerationRequest(5, 11, 3))
    ends = made.run()
    assert len(made.store.puts) == 4
    one, two = ends["one"], ends["two"]
    assert isinstance(one, Succeeded)
    assert isinstance(two, Succeeded)
    assert one.result.images[1:] == two.result.images[:2]


def test_a_job_that_comes_while_its_image_is_being_stored_waits_for_that(benches: list[Bench]) -> None:
    made = bench(benches)
    made.store.open.clear()
    made.workshop.enter("one", GenerationRequest(2, 7))
    poll(lambda: not made.turn() and len(made.sampler.batches) == 2, "it is computed")
    made.workshop.enter("two", GenerationRequest(2, 7))
    for _ in range(5):
        assert made.turn() == []
    made.store.open.set()
    assert all(isinstance(end, Succeeded) for end in made.run().values())
    assert len(made.store.puts) == 1


def test_a_store_that_refuses_fails_the_job_but_not_one_that_came_later(benches: list[Bench]) -> None:
    made = bench(benches)
    made.store.refuses = True
    made.store.open.clear()
    made.workshop.enter("one", GenerationRequest(2, 7))
    poll(lambda: not made.turn() and len(made.sampler.batches) == 2, "it is computed")
    made.workshop.enter("two", GenerationRequest(2, 7))
    for _ in range(5):
        made.turn()
    made.store.open.set()
    ends: list[JobEnd] = []

    def failed() -> bool:
        ends.extend(made.turn())
        return bool(ends)

    poll(failed, "the first fails")
    made.store.refuses = False
    (end,) = ends
    assert isinstance(end, Failed)
    assert (end.job_id, end.reason.code, end.reason.detail) == ("one", "store-failed", "the disk is full")
    assert isinstance(made.run()["two"], Succeeded)


def test_a_store_that_refuses_for_a_moment_is_tried_again(benches: list[Bench]) -> None:
    made = bench(benches, patience=5.0)
    made.store.refuses = True
    made.workshop.enter("one", GenerationRequest(2, 7))
    poll(lambda: not made.turn() and len(made.store.puts) >= 2, "it is tried twice")
    made.store.refuses = False
    assert isinstance(made.run()["one"], Succeeded)


def test_only_the_job_of_a_poisonous_image_fails(benches: list[Bench]) -> None:
    made = bench(benches, PoisonedSampler(seed=13))
    for job, seed in (("bad", 12), ("good", 20), ("bad too", 13)):
        made.workshop.enter(job, GenerationRequest(3, seed, 2))
    ends = made.run()
    assert isinstance(ends["good"], Succeeded)
    for job in ("bad", "bad too"):
        end = ends[job]
        assert isinstance(end, Failed)
        assert end.reason.code == "computation-failed"
        assert "seed 13 at 3 steps" in end.reason.detail
        assert "poison" in end.text


def test_a_canceled_job_ends_silently_and_its_mates_go_on(benches: list[Bench]) -> None:
    sampler = HeldSampler()
    made = bench(benches, sampler)
    made.workshop.start()
    sampler.hold.clear()
    made.workshop.enter("gone", GenerationRequest(50, 1, 4))
    made.workshop.enter("stays", GenerationRequest(3, 3))
    poll(lambda: made.workshop.tick_began is not None, "a tick runs")
    made.workshop.cancel("gone")
    sampler.hold.set()
    assert list(made.look_on()) == ["stays"]
    made.workshop.cancel("nobody")


def test_ticks_follow_one_another_while_nobody_looks(benches: list[Bench]) -> None:
    made = bench(benches)
    made.workshop.start()
    for number in range(20):
        made.workshop.enter(f"job {number}", GenerationRequest(5, 10 * number, 3))
    poll(lambda: len(made.store.images) == 60, "all images are in the store")
    ends = made.look_on()
    assert len(ends) == 20
    assert all(isinstance(end, Succeeded) for end in ends.values())
    assert not made.workshop.images_in_hand()


def test_who_looks_on_is_told_of_a_broken_engine(benches: list[Bench]) -> None:
    sampler = BrokenSampler()
    made = bench(benches, sampler)
    sampler.broken = True
    made.workshop.start()
    made.workshop.enter("job", GenerationRequest(10, 1, 2))
    assert made.workshop.wait(10)
    with pytest.raises(EngineError):
        made.look_on()


def test_an_image_made_elsewhere_is_left_alone_until_it_is_to_be_made_here(benches: list[Bench]) -> None:
    made = bench(benches)
    there, here = ImageKey(7, 5), ImageKey(8, 5)
    made.workshop.enter("both", GenerationRequest(5, 7, 2), {there})
    poll(lambda: not made.turn() and made.workshop.progress() == {"both": Progress(5, 1)}, "the other image is made")
    assert made.store.puts == [image_name("abababababab", 8, 5)]
    assert made.workshop.made_elsewhere() == {there}
    assert made.workshop.remaining_image_steps("both") == 5
    made.workshop.make_here([there, here])
    assert isinstance(made.run()["both"], Succeeded)
    assert len(made.store.puts) == 2
    assert made.workshop.made_elsewhere() == set()


def test_an_image_that_has_been_made_elsewhere_is_taken_from_the_store(benches: list[Bench]) -> None:
    made = bench(benches)
    there = ImageKey(7, 5)
    made.workshop.enter("one", GenerationRequest(5, 7), {there})
    made.workshop.enter("two", GenerationRequest(5, 7), {there})
    for _ in range(3):
        assert made.turn() == []
    made.store.images[image_name("abababababab", 7, 5)] = encode_png(np.zeros((SIZE, SIZE, 3), np.uint8), {})
    made.workshop.make_here([there])
    assert sorted(made.run()) == ["one", "two"]
    assert made.sampler.batches == []
    assert made.store.puts == []


def test_an_image_that_is_made_here_already_is_not_waited_for(benches: list[Bench]) -> None:
    sampler = HeldSampler()
    made = bench(benches, sampler)
    made.workshop.enter("first", GenerationRequest(5, 7))
    poll(lambda: not made.turn() and bool(made.sampler.batches), "it is begun")
    made.workshop.enter("second", GenerationRequest(5, 7), {ImageKey(7, 5)})
    assert all(isinstance(end, Succeeded) for end in made.run().values())
    assert len(made.store.puts) == 1


def test_progress_and_remaining_work_are_known(benches: list[Bench]) -> None:
    sampler = HeldSampler()
    made = bench(benches, sampler)
    made.workshop.enter("job", GenerationRequest(10, 1, 2))
    assert made.workshop.remaining_image_steps("job") == 20
    assert made.workshop.progress() == {"job": Progress(0, 0)}
    poll(lambda: not made.turn() and made.workshop.progress()["job"].steps_done >= 6, "there is progress")
    assert made.workshop.remaining_image_steps("job") == 20 - made.workshop.progress()["job"].steps_done
    made.run()
    assert made.workshop.progress() == {}
    assert made.workshop.remaining_image_steps("job") == 0


def test_a_broken_engine_is_told_and_keeps_the_jobs(benches: list[Bench]) -> None:
    sampler = BrokenSampler()
    made = bench(benches, sampler)
    sampler.broken = True
    made.workshop.enter("job", GenerationRequest(10, 1, 2))
    with pytest.raises(EngineError):
        made.run()
    assert made.workshop.progress() == {"job": Progress(0, 0)}


def test_when_the_device_is_too_small_the_batch_shrinks_and_jobs_go_on(benches: list[Bench]) -> None:
    sampler = SmallDeviceSampler(most=4)
    made = bench(benches, sampler)
    sampler.shrink()
    made.workshop.enter("job", GenerationRequest(3, 1, 8))
    assert isinstance(made.run()["job"], Succeeded)
    assert made.workshop.slots == 4


def test_a_job_cannot_be_entered_twice(benches: list[Bench]) -> None:
    made = bench(benches)
    made.workshop.enter("job", GenerationRequest(3, 1))
    with pytest.raises(ValueError, match="already"):
        made.workshop.enter("job", GenerationRequest(3, 1))
    made.run()


def test_a_folder_will_do_as_a_store(tmp_path: Path) -> None:
    engine = make_engine(CountingSampler())
    workshop = Workshop(engine, make_scheduler(engine), DirectoryStore(tmp_path), BUNDLE)
    workshop.enter("job", GenerationRequest(1, 1, 64))
    ends: list[JobEnd] = []

    def done() -> bool:
        workshop.turn(0.05)
        ends.extend(workshop.take_ends())
        return not workshop.busy

    poll(done, "the workshop is done")
    workshop.close()
    (end,) = ends
    assert isinstance(end, Succeeded)
    assert all(DirectoryStore(tmp_path).exists(image.name) for image in end.result.images)
