import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.schemas import AddressSeed, FlowerQuery, GenerateBody, JobsQuery, JobStatus
from worker.protocol import MAX_SEED, GenerationRequest


def test_every_field_has_a_default() -> None:
    assert GenerateBody.model_validate({}) == GenerateBody(steps=20, seed=None, count=1, sampler="ddim")


@pytest.mark.parametrize(
    "body",
    [
        {"steps": 1, "seed": 0, "count": 64},
        {"steps": 1000, "seed": MAX_SEED, "count": 1},
        {"steps": 5, "seed": MAX_SEED - 63, "count": 64},
        {"seed": None},
        {"steps": 20.0, "seed": 7e0, "count": 2},
        {"sampler": "ddim"},
        {"sampler": "multistep", "steps": 6},
        {"kind": "colt's foot"},
        {"kind": None},
    ],
)
def test_accepts(body: dict[str, Any]) -> None:
    read = GenerateBody.model_validate(json.loads(json.dumps(body)))
    assert all(getattr(read, name) == value for name, value in body.items())
    numbers = read.model_dump(exclude={"sampler", "kind"})
    assert all(isinstance(value, int | None) and not isinstance(value, bool) for value in numbers.values())


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"steps": "20"}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": None}, "steps"),
        ({"steps": 20.5}, "steps"),
        ({"steps": [20]}, "steps"),
        ({"steps": float("inf")}, "steps"),
        ({"steps": 1e300}, "steps"),
        ({"seed": -1}, "seed"),
        ({"seed": MAX_SEED + 1}, "seed"),
        ({"seed": 2**80}, "seed"),
        ({"seed": False}, "seed"),
        ({"count": 0}, "count"),
        ({"count": 65}, "count"),
        ({"seed": MAX_SEED, "count": 2}, "count"),
        ({"step": 20}, "step"),
        ({"Seed": 7}, "Seed"),
        ({"sampler": "DDIM"}, "sampler"),
        ({"sampler": None}, "sampler"),
        ({"sampler": 1}, "sampler"),
        ({"kind": ""}, "kind"),
        ({"kind": 7}, "kind"),
        ({"kind": "a\tb"}, "kind"),
        ({"kind": "x" * 101}, "kind"),
        ({"kind": "X" * 40}, "kind"),
    ],
)
def test_names_the_field_that_is_wrong(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GenerateBody.model_validate(body)
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


@given(st.integers(-5, 1100), st.integers(-5, 2**54) | st.integers(MAX_SEED - 70, MAX_SEED + 5), st.integers(-2, 70))
def test_accepts_just_what_a_worker_accepts(steps: int, seed: int, count: int) -> None:
    """Nothing that the front end lets in may be refused behind it, and nothing else be kept out."""
    try:
        GenerationRequest(steps=steps, seed=seed, count=count)
        possible = True
    except ValueError:
        possible = False
    try:
        GenerateBody(steps=steps, seed=seed, count=count)
        accepted = True
    except ValidationError:
        accepted = False
    assert accepted == possible


@given(st.text(max_size=25) | st.from_regex(r"[+-]?0?[0-9_]{1,18}(\.0)?", fullmatch=True))
def test_an_integer_in_an_address_has_one_spelling(text: str) -> None:
    try:
        seed = TypeAdapter(AddressSeed).validate_python(text)
    except ValidationError:
        return
    assert str(seed) == text


def test_unknown_query_fields_are_refused() -> None:
    for model in (FlowerQuery, JobsQuery):
        with pytest.raises(ValidationError, match="Extra inputs"):
            model.model_validate({"step": "5"})


def test_three_states_are_ends() -> None:
    assert [status.value for status in JobStatus if status.is_terminal] == ["succeeded", "failed", "canceled"]
