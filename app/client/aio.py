"""The client for coroutines: the same names as app/client/sync.py, to be awaited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self, TypeVar

import httpx

from app.client.core import Answer, Call, Core, Lost, Operation, Pause, Retries, server_url
from app.client.events import Done, JobEvent
from app.client.watching import Watching
from app.schemas import Image, Job, JobPage, JobStatus, ModelDescription
from worker.protocol import SamplerName

T = TypeVar("T")


class AsyncClient:
    """Speaks to one Bouquet server; any number of tasks may use one. Every method may raise ClientError (errors.py)."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: Retries | None = None,
    ) -> None:
        """`base_url` is the server's address, such as http://127.0.0.1:8000. Raises UnreachableError if it is none."""
        self._core = Core(base_url, retries or Retries())
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = httpx.AsyncClient(base_url=server_url(base_url), headers=headers, timeout=timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def generate(
        self,
        *,
        steps: int = 20,
        seed: int | None = None,
        count: int = 1,
        sampler: SamplerName = "ddim",
        kind: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queues a job. Image k has the seed `seed + k`; None lets the server draw one, which the Job then tells."""
        return await self._run(self._core.generate(steps, seed, count, sampler, kind, idempotency_key))

    async def job(self, job_id: str) -> Job:
        """The job as it is now."""
        return await self._run(self._core.job(job_id))

    async def jobs(self, status: JobStatus | None = None) -> AsyncIterator[Job]:
        """All jobs, newest first, or those of one status; asks for page after page as they are taken."""
        cursor: str | None = None
        while True:
            page: JobPage = await self._run(self._core.jobs(status, 100, cursor))
            for job in page.jobs:
                yield job
            if (cursor := page.next_cursor) is None:
                return

    async def cancel(self, job_id: str) -> Job:
        """Cancels a queued or running job."""
        return await self._run(self._core.cancel(job_id))

    async def wait(
        self, job: Job, on_change: Callable[[Job], None] | None = None, *, seconds: float | None = None
    ) -> Job:
        """The job once it has succeeded; a server that is away for half a minute (a restart) is waited for.

        Args:
            job: as `generate` returned it.
            on_change: is told of each new state and progress.
            seconds: how long to wait at most; then the job is returned as it is.

        Raises:
            JobFailedError, JobCanceledError: that was its end.
        """
        return await self._run(self._core.wait(job, on_change, seconds))

    async def events(self, job_id: str, last_event_id: str | None = None) -> AsyncIterator[JobEvent]:
        """The job as it happens, until it has ended. A stream that breaks off is taken up where it was."""
        watching = Watching(self._core, job_id, last_event_id)
        while True:
            call = watching.call()
            reason = "the stream ended"
            try:
                async with self._http.stream(call.method, call.path, headers=dict(call.headers)) as response:
                    if response.status_code == 204:
                        return
                    content = b"" if response.is_success else await response.aread()
                    if watching.begins(call, response.status_code, response.headers, content):
                        async for line in response.aiter_lines():
                            if (event := watching.feed(line)) is not None:
                                yield event
                                if isinstance(event, Done):
                                    return
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
            await asyncio.sleep(watching.pause(reason))

    async def image(self, image: Image) -> bytes:
        """The PNG of a finished image, its checksum compared."""
        return await self._run(self._core.image(image))

    async def flower(
        self,
        seed: int,
        *,
        steps: int = 20,
        sampler: SamplerName = "ddim",
        kind: str | None = None,
        after: int | None = None,
    ) -> bytes:
        """The PNG of a flower, made if need be; with `after`, as it is predicted after so many of its steps."""
        return await self._run(self._core.flower(seed, steps, sampler, kind, after))

    async def morph(
        self,
        seed: int,
        toward: int,
        *,
        frames: int = 16,
        steps: int = 20,
        sampler: SamplerName = "ddim",
        kind: str | None = None,
    ) -> bytes:
        """The animated WebP that leads from one flower to another, both included, made if need be."""
        return await self._run(self._core.morph(seed, toward, frames, steps, sampler, kind))

    async def model(self) -> ModelDescription:
        """The bundle that is served."""
        return await self._run(self._core.model())

    async def is_ready(self) -> bool:
        """Whether flowers can be made now."""
        return await self._run(self._core.is_ready())

    async def _run(self, operation: Operation[T]) -> T:
        answer: Answer | Lost | None = None
        try:
            while True:
                step = operation.send(answer)
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    answer = None
                else:
                    answer = await self._send(step)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _send(self, call: Call) -> Answer | Lost:
        try:
            response = await self._http.request(
                call.method, call.path, params=dict(call.params), json=call.json, headers=dict(call.headers)
            )
        except httpx.HTTPError as error:
            return Lost(str(error) or type(error).__name__)
        return Answer(response.status_code, response.headers, response.content)
