"""A small client of the HTTP API, for `bouquet generate --server URL` and for scripts.

with Client("http://127.0.0.1:8000") as client:
    job = client.wait(client.submit(steps=20, seed=7))
    picture = client.picture(job.images[0])
"""

import hashlib
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

import httpx
from pydantic import ValidationError

from app.command_error import CommandError
from app.schemas import Image, Job, JobStatus, Problem
from worker.protocol import SamplerName

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
_OUTAGE_SECONDS = 30.0


class ClientError(CommandError):
    """The server did not do what was asked. `code` is the problem's, or `unreachable`, `not-bouquet`, `damaged`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Client:
    """Speaks to one Bouquet server."""

    def __init__(self, base_url: str, api_key: str | None = None, timeout_seconds: float = 30.0) -> None:
        """`base_url` is the server's address, such as http://127.0.0.1:8000.

        Raises:
            ClientError: that is not an http or https URL.
        """
        self.base_url = base_url
        try:
            url = httpx.URL(base_url)
        except httpx.InvalidURL as error:
            raise ClientError("unreachable", f"{base_url} is not a URL: {error}.") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise ClientError("unreachable", f"{base_url} is not a URL of a server, such as http://127.0.0.1:8000.")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, steps: int, seed: int | None, count: int = 1, sampler: SamplerName = "ddim") -> Job:
        """Queue a job. Image k has the seed `seed + k`; None lets the server draw one, which the Job then tells.

        Raises:
            ClientError: refused (the code says why), or the server cannot be reached.
        """
        body = {"steps": steps, "seed": seed, "count": count, "sampler": sampler}
        # With the key, an answer that was lost on the way can be asked for again without a second job.
        return self._job("POST", "/generate", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})

    def job(self, job_id: str) -> Job:
        """Return a job as it is now. Raises ClientError `job-not-found` for an unknown one."""
        return self._job("GET", f"/jobs/{job_id}")

    def wait(self, job: Job, on_change: Callable[[Job], None] | None = None) -> Job:
        """Return the job once it has succeeded; a server that is away for half a minute (a restart) is waited for.

        Args:
            job: as `submit` returned it.
            on_change: is told of each new state and progress.

        Raises:
            ClientError: the job failed (`job-failed`) or was canceled (`job-canceled`), or the server stays away.
        """
        pause, last_answer = _FIRST_PAUSE_SECONDS, time.monotonic()
        while not job.status.is_terminal:
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
            try:
                latest, last_answer = self.job(job.id), time.monotonic()
            except ClientError as error:
                away = error.code in ("unreachable", "queue-unavailable")
                if not away or time.monotonic() - last_answer > _OUTAGE_SECONDS:
                    raise
                continue
            if on_change and (latest.status, latest.progress) != (job.status, job.progress):
                on_change(latest)
            job = latest
        if job.status is JobStatus.FAILED:
            raise ClientError("job-failed", f"The job failed: {job.error.detail if job.error else 'no reason given'}")
        if job.status is JobStatus.CANCELED:
            raise ClientError("job-canceled", "The job was canceled.")
        return job

    def picture(self, image: Image) -> bytes:
        """Return the PNG of a finished image, its checksum compared. Raises ClientError."""
        data = self._send("GET", image.url).content
        if hashlib.sha256(data).hexdigest() != image.sha256:
            raise ClientError("damaged", f"{image.url} arrived damaged: its SHA-256 is not the one that the job names.")
        return data

    def _job(self, method: str, path: str, json: object | None = None, headers: dict[str, str] | None = None) -> Job:
        response = self._send(method, path, json, headers)
        try:
            return Job.model_validate_json(response.content)
        except ValidationError as error:
            raise ClientError("not-bouquet", f"{self.base_url}{path} does not answer as Bouquet does.") from error

    def _send(
        self, method: str, path: str, json: object | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        try:
            response = self._http.request(method, path, json=json, headers=headers)
        except httpx.HTTPError as error:
            raise ClientError("unreachable", f"{self.base_url} cannot be reached ({error}). Is it running?") from error
        if response.is_success:
            return response
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            raise ClientError(
                "not-bouquet", f"{self.base_url}{path} answers {response.status_code} in a way that Bouquet does not."
            ) from None
        wait = response.headers.get("Retry-After")
        raise ClientError(problem.code, problem.detail + (f" (Try again in {wait} s.)" if wait else ""))
