import dataclasses
import json
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

import model.schedule
from worker.protocol import (
    MAX_COUNT,
    MAX_SEED,
    MAX_STEPS,
    SAMPLERS,
    FailureReason,
    GenerationRequest,
    GenerationResult,
    ImageAddress,
    ImageRecord,
    Progress,
    ProtocolError,
    SamplerName,
    WorkerReadiness,
    enqueue_options,
    image_name,
    job_timeout,
    parse_image_name,
)

steps = st.integers(1, MAX_STEPS)
seeds = st.integers(0, MAX_SEED)
samplers = st.sampled_from(SAMPLERS)
kinds = st.none() | st.sampled_from(["sunflower", "colt's foot", "Frauenmantel, großer", "a-b_c~d"])
revisions = st.text("0123456789abcdef", min_size=12, max_size=12)


@st.composite
def batches(draw: st.DrawFn) -> GenerationRequest:
    count = draw(st.integers(1, MAX_COUNT))
    seed = draw(st.integers(0, MAX_SEED - count + 1))
    return GenerationRequest(draw(steps), seed, count, draw(samplers), kind=draw(kinds))


@st.composite
def morphs(draw: st.DrawFn) -> GenerationRequest:
    seed, toward = draw(st.lists(seeds, min_size=2, max_size=2, unique=True))
    count = draw(st.integers(2, MAX_COUNT))
    return GenerationRequest(draw(steps), seed, count, draw(samplers), toward, kind=draw(kinds))


@st.composite
def looks(draw: st.DrawFn) -> GenerationRequest:
    total = draw(st.integers(2, MAX_STEPS))
    after = draw(st.integers(1, total - 1))
    return GenerationRequest(total, draw(seeds), 1, draw(samplers), after=after, kind=draw(kinds))


requests = st.one_of(batches(), morphs(), looks())


@st.composite
def records(draw: st.DrawFn) -> ImageRecord:
    seed = draw(seeds)
    name = image_name(draw(revisions), seed, draw(steps), draw(samplers))
    sides, size = st.integers(1, 4096), st.integers(1, 10**9)
    digest = draw(st.text("0123456789abcdef", min_size=64, max_size=64))
    return ImageRecord(seed, name, draw(sides), draw(sides), draw(size), digest, draw(st.text()))


@given(requests)
def test_a_request_survives_the_queue(request: GenerationRequest) -> None:
    assert GenerationRequest.from_kwargs(json.loads(json.dumps(request.to_kwargs()))) == request


def test_a_job_from_before_there_was_a_choice_is_ddim_and_written_as_then() -> None:
    kwargs = {"steps": 20, "seed": 7, "count": 2}
    request = GenerationRequest.from_kwargs(kwargs)
    assert request == GenerationRequest(20, 7, 2, "ddim")
    assert request.to_kwargs() == kwargs
    assert image_name("0123456789ab", 7, 20) == image_name("0123456789ab", 7, 20, "ddim") == "0123456789ab-7-20.png"


def test_both_sides_know_the_same_samplers() -> None:
    assert get_args(model.schedule.SamplerName) == SAMPLERS


@given(batches())
def test_image_k_has_seed_plus_k(request: GenerationRequest) -> None:
    assert request.image_seeds == tuple(request.seed + k for k in range(request.count))
    assert request.image_steps == request.steps * len(request.image_seeds)
    assert max(request.image_seeds) <= MAX_SEED


@pytest.mark.parametrize(
    ("kwargs", "field"),
    [
        ({"steps": 0, "seed": 1, "count": 1}, "steps"),
        ({"steps": 1001, "seed": 1, "count": 1}, "steps"),
        ({"steps": True, "seed": 1, "count": 1}, "steps"),
        ({"steps": 1.0, "seed": 1, "count": 1}, "steps"),
        ({"steps": "20", "seed": 1, "count": 1}, "steps"),
        ({"steps": 1, "seed": -1, "count": 1}, "seed"),
        ({"steps": 1, "seed": MAX_SEED + 1, "count": 1}, "seed"),
        ({"steps": 1, "seed": MAX_SEED, "count": 2}, "seed"),
        ({"steps": 1, "seed": None, "count": 1}, "seed"),
        ({"steps": 1, "seed": 1, "count": 0}, "count"),
        ({"steps": 1, "seed": 1, "count": 65}, "count"),
        ({"steps": 1, "seed": 1}, "count"),
        ({"steps": 1, "seed": 1, "count": 1, "sampler": "DDIM"}, "sampler"),
        ({"steps": 1, "seed": 1, "count": 1, "sampler": None}, "sampler"),
        ({"steps": 1, "seed": 1, "count": 1, "sampler": ["ddim"]}, "sampler"),
        ({"steps": 1, "seed": 1, "count": 1, "prompt": "rose"}, "prompt"),
        ({"steps": 1, "seed": 1, "count": 1, "kind": ""}, "kind"),
        ({"steps": 1, "seed": 1, "count": 1, "kind": " "}, "kind"),
        ({"steps": 1, "seed": 1, "count": 1, "kind": "rose\n"}, "kind"),
        ({"steps": 1, "seed": 1, "count": 1, "kind": "\ud800"}, "kind"),
        ({"steps": 1, "seed": 1, "count": 1, "kind": 7}, "kind"),
        ({"steps": 1, "seed": 1, "count": 1, "kind": "r" * 101}, "kind"),
        ({"steps": 1, "seed": 1, "count": 1, "kind": "ß" * 17}, "kind"),
        ({"steps": 9, "seed": 1, "count": 2, "toward": 1}, "toward"),
        ({"steps": 9, "seed": 1, "count": 2, "toward": -1}, "toward"),
        ({"steps": 9, "seed": 1, "count": 2, "toward": MAX_SEED + 1}, "toward"),
        ({"steps": 9, "seed": 1, "count": 2, "toward": "2"}, "toward"),
        ({"steps": 9, "seed": 1, "count": 1, "toward": 2}, "count"),
        ({"steps": 9, "seed": 1, "count": 1, "after": 0}, "after"),
        ({"steps": 9, "seed": 1, "count": 1, "after": 9}, "after"),
        ({"steps": 9, "seed": 1, "count": 2, "after": 3}, "count"),
        ({"steps": 9, "seed": 1, "count": 2, "after": 3, "toward": 2}, "count"),
        ([1, 2, 3], "request"),
        (None, "request"),
    ],
)
def test_a_bad_request_names_its_field(kwargs: object, field: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        GenerationRequest.from_kwargs(kwargs)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


@given(requests, revisions)
def test_every_image_of_a_request_has_a_name_of_its_own_that_can_be_read_back(
    request: GenerationRequest, revision: str
) -> None:
    keys = request.image_keys
    assert len(set(keys)) == len(keys) == request.count
    assert sorted(keys) == sorted(parse_image_name(key.name(revision)).key for key in keys)
    assert sum(key.last_step for key in keys) == request.image_steps


@pytest.mark.parametrize(
    ("kind", "spelt"),
    [
        ("sunflower", "sunflower"),
        ("colt's foot", "colt~27s_foot"),
        ("Rose", "~52ose"),
        ("große-blume", "gro~c3~9fe~2dblume"),
    ],
)
def test_a_kind_is_in_the_name_of_its_image(kind: str, spelt: str) -> None:
    [key] = GenerationRequest(20, 7, 1, "multistep", kind=kind).image_keys
    assert key.name("0123456789ab") == f"0123456789ab-7-20-multistep-of-{spelt}.png"
    [on_its_way] = GenerationRequest(20, 7, after=5, kind=kind).image_keys
    assert on_its_way.name("0123456789ab") == f"0123456789ab-7-20-of-{spelt}-after5.png"


@given(st.text(min_size=1, max_size=30))
def test_every_kind_that_is_taken_can_be_read_back(kind: str) -> None:
    try:
        [key] = GenerationRequest(20, 7, kind=kind).image_keys
    except ProtocolError:
        assert not kind.isprintable() or not kind.strip() or len(kind.encode(errors="replace")) > 33
    else:
        assert parse_image_name(key.name("0123456789ab")).kind == kind


@given(morphs())
def test_a_morph_is_the_same_images_in_both_directions(request: GenerationRequest) -> None:
    assert request.toward is not None
    back = dataclasses.replace(request, seed=request.toward, toward=request.seed)
    assert back.image_keys == tuple(reversed(request.image_keys))
    assert (request.image_keys[0].seed, request.image_keys[-1].seed) == (request.seed, request.toward)
    for part, key in enumerate(request.image_keys[1:-1], start=1):
        share = part / (request.count - 1)
        assert key.part / key.parts == pytest.approx(share if key.seed == request.seed else 1 - share)


@given(revisions, seeds, steps, samplers)
def test_an_image_name_can_be_read_back(revision: str, seed: int, count: int, sampler: SamplerName) -> None:
    address = ImageAddress(revision, seed, count, sampler)
    assert parse_image_name(image_name(revision, seed, count, sampler)) == address


@given(st.text())
def test_what_is_not_an_image_name_is_refused(text: str) -> None:
    try:
        address = parse_image_name(text)
    except ProtocolError:
        return
    assert address.name == text  # one spelling an image, or two URLs would show the same one


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0123456789ab-7-20",
        "0123456789ab-7-20.PNG",
        "0123456789AB-7-20.png",
        "0123456789ab-07-20.png",
        "0123456789ab--7-20.png",
        "0123456789ab-7-0.png",
        "0123456789ab-7-1001.png",
        "0123456789ab-9007199254740992-20.png",
        "0123456789ab-7-20.png\n",
        "0123456789ab-7-20-ddim.png",
        "0123456789ab-7-20-Multistep.png",
        "0123456789ab-7-20-multistep-multistep.png",
        "0123456789ab-7-20multistep.png",
        "0123456789ab-7-20-.png",
        "0123456789ab-7-20-after0.png",
        "0123456789ab-7-20-after20.png",
        "0123456789ab-7-20-after05.png",
        "0123456789ab-7-20-after5-multistep.png",
        "0123456789ab-7-20-after5-of-rose.png",
        "0123456789ab-7-20-of-.png",
        "0123456789ab-7-20-of-Rose.png",
        "0123456789ab-7-20-of-~72ose.png",
        "0123456789ab-7-20-of-_.png",
        "0123456789ab-7-20-of-~ff.png",
        "0123456789ab-7-20-of-~5.png",
        "0123456789ab-7-20-of-~0a.png",
        "0123456789ab-7-20-of-rose-multistep.png",
        "0123456789ab-7to7at1of2-20.webp",
        "0123456789ab-8to7at1of2-20.webp",
        "0123456789ab-7to8at2of4-20.webp",
        "0123456789ab-7to8at0of1-20.webp",
        "0123456789ab-7to8at1of1-20.webp",
        "0123456789ab-7to8at1of64-20.webp",
        "0123456789ab-7to8at01of2-20.webp",
        "0123456789ab-7to9007199254740992at1of2-20.webp",
        "0123456789ab-7-20.jpeg",
        "0123456789ab-٧-20.png",
        "../../etc/passwd",
        "0123456789ab-7-20.png/../x",
    ],
)
def test_names_that_are_nearly_right_are_refused(name: str) -> None:
    with pytest.raises(ProtocolError):
        parse_image_name(name)


@given(revisions, st.lists(records(), min_size=1, max_size=4), st.floats(0, 1e6))
def test_a_result_survives_the_queue(revision: str, images: list[ImageRecord], seconds: float) -> None:
    result = GenerationResult(revision, tuple(images), seconds)
    assert GenerationResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_an_image_from_before_there_were_kinds_has_none() -> None:
    value = GenerationResult(
        "0" * 12, (ImageRecord(1, image_name("0" * 12, 1, 1), 64, 64, 100, "ab" * 32),), 0.5
    ).to_json()
    del value["images"][0]["kind"]
    assert GenerationResult.from_json(value).images[0].kind == ""


@pytest.mark.parametrize("value", [None, [], {}, {"revision": "a", "images": {}, "run_seconds": 1}, "Unserializable"])
def test_a_result_of_another_kind_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        GenerationResult.from_json(value)


def test_a_record_with_a_bad_digest_is_refused() -> None:
    with pytest.raises(ProtocolError, match="sha256"):
        ImageRecord(1, image_name("0" * 12, 1, 1), 64, 64, 100, "xyz")


@given(st.integers(0, 64000), st.integers(0, 64))
def test_progress_survives_redis(steps_done: int, images_done: int) -> None:
    progress = Progress(steps_done, images_done)
    stored = {str(name).encode(): str(value).encode() for name, value in progress.to_hash().items()}
    assert Progress.from_hash(stored) == progress


def test_a_job_without_progress_has_not_begun() -> None:
    assert Progress.from_hash({}) == Progress(0, 0)


def test_readiness_survives_redis() -> None:
    readiness = WorkerReadiness("0123456789ab", 8, 71.5)
    assert WorkerReadiness.from_json(readiness.to_json()) == readiness
    with pytest.raises(ProtocolError):
        WorkerReadiness.from_json(b"{")


@given(st.sampled_from(["store-failed", "foreign-job"]), st.text())
def test_a_failure_reason_is_found_under_any_traceback(code: str, detail: str) -> None:
    reason = FailureReason(code, detail)
    found = FailureReason.from_text(f"Traceback (most recent call last):\n  File x\nValueError: y\n{reason.to_text()}")
    assert found == FailureReason(code, " ".join(detail.split()))


def test_failures_of_rq_itself_have_codes() -> None:
    abandoned = "Moved to FailedJobRegistry, due to AbandonedJobError, at 2026-01-01"
    assert FailureReason.from_text(abandoned).code == "worker-lost"
    assert FailureReason.from_text("ValueError: what").code == "internal-error"
    assert FailureReason.from_text(None).code == "internal-error"


@given(requests)
def test_jobs_are_enqueued_so_that_none_is_dropped(request: GenerationRequest) -> None:
    options = enqueue_options(request)
    assert options["ttl"] is None
    assert options["retry"].max >= 3
    assert options["retry"].intervals == [0]  # anything else would need RQ's scheduler process
    assert options["job_timeout"] == job_timeout(request) > 300
    assert options["result_ttl"] > 0
    assert options["failure_ttl"] > 0


def test_the_protocol_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import worker.protocol, worker.store;"
        "new = {name.split('.')[0] for name in set(sys.modules) - before};"
        "print(sorted(new - sys.stdlib_module_names - {'worker'}))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
