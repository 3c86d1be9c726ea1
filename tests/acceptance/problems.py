"""What every error answer has to look like."""

from typing import Any

import httpx


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Asserts that the answer is this problem, in the form of RFC 9457, and returns it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"/docs#{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem
