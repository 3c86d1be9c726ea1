"""The client's operations, driven by hand: what is sent, what is waited out, and for how long."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

from app.client import (
    AsyncClient,
    Client,
    ClientError,
    ConflictError,
    DamagedError,
    JobFailedError,
    NotBouquetError,
    QueueFullError,
    Retries,
    UnavailableError,
    UnreachableError,
)
from app.client.core import Answer, Call, Core, Lost, Operation, Pause, backoff, retry_after
from app.schemas import Job, JobStatus

SHA256_OF_A = hashlib.sha256(b"A").hexdigest()
JOB: dict[str, Any] = {
    "id": "1-5",
    "status": "queued",
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "request": {"steps": 5, "seed": 7, "count": 1},
    "progress": {"steps_done": 0, "steps_total": 5, "images_done": 0},
    "queue": None,
    "images": [],
    "error": None,
    "metrics": {"queued_seconds": None, "run_seconds": None},
}


def job_answer(code: int = 200, **changes: Any) -> Answer:
    return Answer(code, {}, json.dumps(JOB | changes).encode())


def problem(status: int, code: str, **headers: str) -> Answer:
    fields = {"type": f"/docs#{code}", "title": code, "status": status, "detail": "No.", "code": code, "instance": "/"}
    return Answer(status, headers, json.dumps(fields).encode())


def proxys_own(status: int) -> Answer:
    """What a proxy says for a server that is away."""
    return Answer(status, {"content-type": "text/html"}, b"<html>Bad Gateway</html>")


class Clock:
    """A time that passes only when it is told to; stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.client.core.time", clock)
    return clock


class Played:
    """An operation with the answers of a script; the last one for ever. Its pauses pass on the clock, if any."""

    def __init__(self, operation: Operation[Any], *script: Answer | Lost, clock: Clock | None = None) -> None:
        self.calls: list[Call] = []
        self.pauses: list[float] = []
        answers = list(script)
        answer: Answer | Lost | None = None
        try:
            for _ in range(1000):
                step = operation.send(answer)
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    if clock is not None:
                        clock.sleep(step.seconds)
                    answer = None
                else:
                    self.calls.append(step)
                    answer = answers.pop(0) if len(answers) > 1 else answers[0]
        except StopIteration as stop:
            self.result = stop.value
        else:
            raise AssertionError("it goes on for ever")


def core(**retries: float) -> Core:
    return Core("http://garden", Retries(**retries))


def generate(core: Core) -> Operation[Job]:
    return core.generate(5, 7, 1, "ddim", None, None)


def test_a_job_is_asked_for_with_one_key_however_often() -> None:
    played = Played(generate(core()), Lost("reset"), Lost("reset"), job_answer(202))
    assert played.result.id == "1-5"
    assert len(played.calls) == 3
    assert len({call.headers["Idempotency-Key"] for call in played.calls}) == 1
    assert played.calls[0].json == {"steps": 5, "seed": 7, "count": 1}
    other = Played(generate(core()), job_answer(202))
    assert other.calls[0].headers["Idempotency-Key"] != played.calls[0].headers["Idempotency-Key"]


def test_a_full_queue_is_waited_out_as_late_as_it_says() -> None:
    full = problem(429, "queue-full", **{"retry-after": "7"})
    played = Played(generate(core()), full, full, job_answer(202))
    assert played.pauses == [7.0, 7.0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(429, "queue-full", **{"retry-after": "61"}), QueueFullError),
        (problem(503, "queue-unavailable", **{"retry-after": "61"}), UnavailableError),
    ],
)
def test_but_not_for_longer_than_is_to_be_waited(answer: Answer, error: type[ClientError]) -> None:
    with pytest.raises(error, match=r"Try again in 61 s") as told:
        Played(generate(core(busy=60)), answer)
    assert told.value.retry_after == 61


def test_503_without_a_time_is_tried_again_with_growing_pauses() -> None:
    away = problem(503, "store-unavailable")
    played = Played(
        core().model(),
        away,
        away,
        away,
        Answer(200, {}, b'{"name":"n","content_hash":"h","revision":"r","image_size":8}'),
    )
    assert played.pauses[0] < played.pauses[1] < played.pauses[2] < 1
    assert played.result.image_size == 8


def test_what_is_wrong_is_not_tried_again() -> None:
    with pytest.raises(ClientError):
        Played(generate(core()), problem(422, "invalid-request"))
    operation = core().job("1-5")
    assert next(operation) == Call("GET", "/jobs/1-5")
    with pytest.raises(ClientError) as told:
        operation.send(problem(404, "job-not-found"))
    assert (told.value.code, told.value.status) == ("job-not-found", 404)


def test_an_outage_is_waited_out_for_a_while() -> None:
    with pytest.raises(UnreachableError, match="refused"):
        Played(core(outage=0).job("1"), Lost("refused"))


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxys_word_that_the_server_is_away_is_an_outage(status: int, clock: Clock) -> None:
    away = proxys_own(status)
    played = Played(generate(core()), away, away, Lost("reset"), away, job_answer(202), clock=clock)
    assert played.result.id == "1-5"
    assert len({call.headers["Idempotency-Key"] for call in played.calls}) == 1
    assert played.pauses == sorted(played.pauses)
    assert 0.7 < sum(played.pauses) < 2
    with pytest.raises(NotBouquetError, match=f"answers {status}") as told:
        Played(generate(core(outage=0)), away, job_answer(202), clock=clock)
    assert told.value.status == status


@pytest.mark.parametrize("status", [502, 504])
def test_it_is_waited_out_as_long_as_a_server_that_does_not_answer(status: int, clock: Clock) -> None:
    began = clock.now
    with pytest.raises(NotBouquetError):
        Played(core(outage=5, restart=30).job("1-5"), proxys_own(status), clock=clock)
    assert 2 < clock.now - began <= 5


def test_who_waits_for_a_job_outlasts_a_restart_behind_a_proxy(clock: Clock) -> None:
    job, began = Job.model_validate(JOB), clock.now
    away = [proxys_own(502)] * 8
    played = Played(core().wait(job, None, None), *away, job_answer(status="succeeded"), clock=clock)
    assert played.result.status is JobStatus.SUCCEEDED
    assert 10 < clock.now - began < 30
    began = clock.now
    with pytest.raises(NotBouquetError, match="answers 502"):
        Played(core().wait(job, None, None), proxys_own(502), clock=clock)
    assert 20 < clock.now - began <= 31


def test_an_outage_is_counted_from_when_it_began(clock: Clock) -> None:
    full = problem(429, "queue-full", **{"retry-after": "50"})
    # However long the queue was full before, and is again after it.
    played = Played(generate(core(busy=60, outage=5)), full, Lost("reset"), job_answer(202), clock=clock)
    assert played.result.id == "1-5"
    played = Played(generate(core(busy=60, outage=5)), full, Lost("reset"), full, job_answer(202), clock=clock)
    assert played.result.id == "1-5"
    with pytest.raises(QueueFullError):
        Played(generate(core(busy=60, outage=5)), full, full, clock=clock)


def test_an_attempt_that_takes_longer_than_an_outage_may_is_made_again(clock: Clock) -> None:
    operation = generate(core(outage=5))
    operation.send(None)
    clock.sleep(60)  # for which nothing came
    assert isinstance(operation.send(Lost("timed out")), Pause)


def test_a_problem_is_what_it_says_whatever_its_status() -> None:
    with pytest.raises(ClientError) as told:
        Played(core().job("1-5"), problem(502, "internal-error"), job_answer())
    assert told.value.code == "internal-error"


def test_a_job_canceled_by_an_attempt_whose_answer_was_lost_is_canceled() -> None:
    ended = problem(409, "job-ended")
    played = Played(core().cancel("1-5"), Lost("reset"), ended, job_answer(status="canceled"))
    assert played.result.status is JobStatus.CANCELED
    assert [call.method for call in played.calls] == ["DELETE", "DELETE", "GET"]
    assert Played(core().cancel("1-5"), proxys_own(502), ended, job_answer(status="canceled")).result.id == "1-5"
    with pytest.raises(ConflictError):
        Played(core().cancel("1-5"), ended)
    with pytest.raises(ConflictError):
        Played(core().cancel("1-5"), Lost("reset"), ended, job_answer(status="succeeded"))


def test_ids_cannot_leave_their_place() -> None:
    assert next(core().job("../model?x#y")) == Call("GET", "/jobs/..%2Fmodel%3Fx%23y")


def test_waiting_ends_with_the_time_that_it_was_given() -> None:
    played = Played(core().wait(Job.model_validate(JOB), None, 0.0), job_answer())
    assert (played.calls, played.result.status) == ([], JobStatus.QUEUED)


def test_a_failed_job_is_an_error_with_its_problem() -> None:
    error = json.loads(problem(500, "computation-failed").content)
    with pytest.raises(JobFailedError) as told:
        Played(core().wait(Job.model_validate(JOB), None, None), job_answer(status="failed", error=error))
    assert told.value.problem is not None
    assert told.value.problem.code == "computation-failed"


@pytest.mark.parametrize(
    "answer", [Answer(200, {}, b"<html>"), Answer(502, {}, b"bad gateway"), Answer(200, {}, b"{}")]
)
def test_what_is_no_bouquet_is_told(answer: Answer, clock: Clock) -> None:
    with pytest.raises(NotBouquetError):
        Played(core().job("1"), answer, clock=clock)


def test_readiness_is_asked_and_not_waited_for() -> None:
    assert Played(core().is_ready(), problem(503, "not-ready", **{"retry-after": "2"})).result is False
    assert Played(core().is_ready(), Answer(200, {}, b'{"status":"ready"}')).result is True


FLOWER = Call("GET", "/flowers/7.png", {"steps": "20"})
ON_ITS_WAY = Call("GET", "/flowers/7.png", {"steps": "9", "sampler": "multistep", "kind": "rose", "after": "4"})
MORPH = Call("GET", "/morphs/7-9.webp", {"frames": "16", "steps": "20"})


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        (lambda: core().flower(7, 20, "ddim", None, None), FLOWER),
        (lambda: core().flower(7, 9, "multistep", "rose", 4), ON_ITS_WAY),
        (lambda: core().morph(7, 9, 16, 20, "ddim", None), MORPH),
    ],
)
def test_a_picture_that_is_being_made_is_waited_for(operation: Callable[[], Operation[bytes]], call: Call) -> None:
    """The queue may be full at first, and the making may take longer than the server lets a request wait."""
    full = problem(429, "queue-full", **{"retry-after": "3"})
    pending = problem(503, "flower-pending", **{"retry-after": "2"})
    played = Played(operation(), full, pending, pending, Answer(200, {"etag": f'"{SHA256_OF_A}"'}, b"A"))
    assert played.result == b"A"
    assert played.calls == [call] * 4
    assert played.pauses == [3.0, 2.0, 2.0]
    with pytest.raises(UnavailableError) as told:
        Played(operation(), problem(503, "flower-pending", **{"retry-after": "61"}))
    assert told.value.code == "flower-pending"
    with pytest.raises(DamagedError):
        Played(operation(), Answer(200, {"etag": f'"{SHA256_OF_A}"'}, b"B"))


def test_the_request_of_a_job_is_typed_whatever_it_is_for() -> None:
    request = JOB["request"] | {"count": 16, "toward": 9}
    morph = Played(core().job("1-5"), job_answer(request=request)).result.request
    assert (morph.seed, morph.toward, morph.after, morph.sampler) == (7, 9, None, "ddim")
    request = JOB["request"] | {"after": 3, "sampler": "multistep"}
    on_its_way = Played(core().job("1-5"), job_answer(request=request)).result.request
    assert (on_its_way.toward, on_its_way.after, on_its_way.sampler) == (None, 3, "multistep")


def test_pauses_grow_to_a_limit_and_differ_between_clients() -> None:
    pauses = backoff()
    first = [next(pauses) for _ in range(12)]
    assert first[0] < first[2] < first[4]
    assert all(3.0 < pause < 7.0 for pause in first[-3:])
    assert first[0] != next(backoff())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), ("12", 12.0), ("-1", None), ("1e9", None), ("Wed, 21 Oct", None), ("", None), ("²", None)],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": text}) == seconds


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, Any]:
        found = {name: value for name, value in vars(kind).items() if inspect.isfunction(value)}
        return {name: inspect.signature(value).parameters for name, value in found.items() if not name.startswith("_")}

    def rough(kind: type) -> dict[str, list[str]]:
        return {name: [str(parameter) for parameter in of.values()] for name, of in methods(kind).items()}

    assert rough(Client) == rough(AsyncClient)
    assert {"generate", "wait", "cancel", "jobs", "events", "image", "flower", "morph", "model"} <= rough(Client).keys()
