"""Jobs that wait: a service without a worker keeps them in the queue, where one can look at them."""

from __future__ import annotations

from typing import Any

import httpx

from tests.acceptance.problems import problem_of


def submit(idle: httpx.Client, **wish: Any) -> dict[str, Any]:
    response = idle.post("/generate", json=wish)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def test_not_ready_without_a_worker(idle: httpx.Client) -> None:
    assert idle.get("/health/live").status_code == 200
    problem = problem_of(idle.get("/health/ready"), 503, "not-ready")
    assert "worker" in problem["detail"]
    problem_of(idle.get("/model"), 503, "not-ready")
    flower = idle.get("/flowers/7.png")
    problem_of(flower, 503, "not-ready")
    assert int(flower.headers["retry-after"]) > 0


def test_places_in_the_queue(idle: httpx.Client) -> None:
    jobs = [submit(idle, seed=seed) for seed in (1, 2, 3)]
    assert [job["queue"]["position"] for job in jobs] == [1, 2, 3]
    assert all(job["queue"]["eta_seconds"] is None for job in jobs)
    assert idle.delete(f"/jobs/{jobs[0]['id']}").json()["status"] == "canceled"
    places = [idle.get(f"/jobs/{job['id']}").json()["queue"] for job in jobs]
    assert places[0] is None
    assert [place["position"] for place in places[1:]] == [1, 2]


def test_a_canceled_job_stays_canceled(idle: httpx.Client) -> None:
    job = submit(idle, seed=1)
    canceled = idle.delete(f"/jobs/{job['id']}").json()
    assert canceled["finished_at"] >= canceled["created_at"]
    problem_of(idle.delete(f"/jobs/{job['id']}"), 409, "job-ended")
    assert idle.get(f"/jobs/{job['id']}").json() == canceled


def test_the_wait_has_a_limit(idle: httpx.Client) -> None:
    response = idle.post("/generate", json={"seed": 1}, headers={"Prefer": "wait=1"})
    assert response.status_code == 202
    assert response.json()["status"] == "queued"
    assert response.headers["preference-applied"] == "wait=1"
    # The server's own limit is two seconds here, whatever a client would like.
    response = idle.post("/generate", json={"seed": 1}, headers={"Prefer": "wait=3600"})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=2"


def test_full_is_counted_in_image_steps_and_nothing_accepted_is_dropped(idle: httpx.Client) -> None:
    accepted = [submit(idle, steps=100, count=9), submit(idle, steps=100, count=9)]
    refused = idle.post("/generate", json={"steps": 100, "count": 3})
    problem = problem_of(refused, 429, "queue-full")
    assert refused.headers["retry-after"] == str(problem["retry_after"])
    assert (problem["queued_image_steps"], problem["limit_image_steps"]) == (1800, 2000)
    accepted.append(submit(idle, steps=100, count=2))
    problem_of(idle.post("/generate", json={"steps": 1}), 429, "queue-full")
    assert {idle.get(f"/jobs/{job['id']}").json()["status"] for job in accepted} == {"queued"}
    idle.delete(f"/jobs/{accepted[0]['id']}")
    submit(idle, steps=100, count=8)


def test_a_key_finds_its_job_in_a_full_queue(idle: httpx.Client) -> None:
    key = {"Idempotency-Key": "full"}
    first = idle.post("/generate", json={"steps": 1000, "count": 2}, headers=key).json()
    problem_of(idle.post("/generate", json={"steps": 1}), 429, "queue-full")
    assert idle.post("/generate", json={"steps": 1000, "count": 2}, headers=key).json()["id"] == first["id"]


def test_a_refused_wish_does_not_use_up_its_key(idle: httpx.Client) -> None:
    full = submit(idle, steps=1000, count=2)
    key = {"Idempotency-Key": "refused"}
    problem_of(idle.post("/generate", json={"steps": 7}, headers=key), 429, "queue-full")
    idle.delete(f"/jobs/{full['id']}")
    assert idle.post("/generate", json={"steps": 8}, headers=key).status_code == 202


def test_the_list_goes_back_in_time(idle: httpx.Client) -> None:
    made = [submit(idle, seed=seed)["id"] for seed in range(7)]
    listed: list[str] = []
    page = idle.get("/jobs", params={"limit": 3}).json()
    assert len(page["jobs"]) == 3
    # What comes meanwhile does not shift the pages.
    submit(idle, seed=99)
    listed += [job["id"] for job in page["jobs"]]
    while len(listed) < 7:
        page = idle.get("/jobs", params={"limit": 3, "cursor": page["next_cursor"]}).json()
        listed += [job["id"] for job in page["jobs"]]
    assert sorted(listed[:7]) == sorted(made)


def test_the_list_ends(idle: httpx.Client) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = idle.get("/jobs", params={"limit": 5} | ({"cursor": cursor} if cursor else {})).json()
        seen += [job["id"] for job in page["jobs"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert len(seen) == len(set(seen))


def test_the_list_by_state(idle: httpx.Client) -> None:
    kept, gone = submit(idle, seed=1), submit(idle, seed=2)
    idle.delete(f"/jobs/{gone['id']}")
    queued = [job["id"] for job in idle.get("/jobs", params={"status": "queued"}).json()["jobs"]]
    canceled = [job["id"] for job in idle.get("/jobs", params={"status": "canceled", "limit": 1}).json()["jobs"]]
    assert queued == [kept["id"]]
    assert canceled == [gone["id"]]
    assert idle.get("/jobs", params={"status": "failed"}).json() == {"jobs": [], "next_cursor": None}
