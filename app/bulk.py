"""Many images from a server: several jobs under way at a time, and nothing asked for that is there already."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from app.bulk_folder import BulkFolder
from app.client import AsyncClient, ClientError, JobFailedError
from app.command_error import CommandError
from app.schemas import Job
from worker.protocol import MAX_COUNT, ImageAddress, ProtocolError, SamplerName, check_kind

JOBS_AT_ONCE: Final = 6
"""Enough to keep several workers busy while images are fetched, few enough to leave room in the queue for others."""

_STEPS_A_JOB: Final = 6400
_FETCHES_AT_ONCE: Final = 8
_LAST_WORD_SECONDS: Final = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """Images of the seeds `seed` to `seed + count - 1`."""

    seed: int
    count: int
    steps: int
    sampler: SamplerName = "ddim"
    kind: str | None = None


async def addresses_of(client: AsyncClient, wish: Wish) -> list[ImageAddress]:
    """Where the images are, or will be, by the bundle that the server has now.

    Raises:
        CommandError: no kind can have that name. Or ClientError.
    """
    try:
        kind = check_kind(wish.kind) if wish.kind else ""
    except ProtocolError as error:
        raise CommandError(f"--kind {error.reason}.") from error
    revision = (await client.model()).revision
    seeds = range(wish.seed, wish.seed + wish.count)
    return [ImageAddress(revision, seed, wish.steps, wish.sampler, kind=kind) for seed in seeds]


async def fill(
    client: AsyncClient, folder: BulkFolder, addresses: list[ImageAddress], progress: Callable[[int], None]
) -> None:
    """Fetches all images that the folder lacks. A full queue is waited out, as late as it says.

    Args:
        client: of the server; how patient it is decides how long a full queue is waited for.
        folder: where the images go.
        addresses: all images wanted, in the order of their seeds; steps, sampler and kind are the same for all.
        progress: is told of each image that is there, as how many there are in all.

    Raises:
        CommandError: some images could not be had; the others are there. Among them ClientError.
    """
    missing = [address for address in addresses if not folder.has(address.name)]
    there = len(addresses) - len(missing)
    progress(there)
    failures: list[JobFailedError] = []
    fetches = asyncio.Semaphore(_FETCHES_AT_ONCE)
    chunks = _chunks(missing)

    async def fetch(address: ImageAddress, job: Job) -> None:
        nonlocal there
        image = next((image for image in job.images if image.seed == address.seed), None)
        if image is None or not image.url.endswith(f"/{address.name}"):
            raise CommandError("The server has another bundle than when this run began. Run it again.")
        async with fetches:
            png = await client.image(image)
        folder.add(address, image, png)
        there += 1
        progress(there)

    async def work() -> None:
        for chunk in chunks:  # shared by all who work: each takes the next
            first = chunk[0]
            asked = asyncio.ensure_future(
                client.generate(
                    steps=first.steps,
                    seed=first.seed,
                    count=len(chunk),
                    sampler=first.sampler,
                    kind=first.kind or None,
                )
            )
            try:
                # Shielded: a request that is on its way may become a job, and only its answer tells which.
                job = await client.wait(await asyncio.shield(asked))
            except JobFailedError as error:
                failures.append(error)
                continue
            except asyncio.CancelledError:
                await _take_back(client, asked)
                raise
            await asyncio.gather(*(fetch(address, job) for address in chunk))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(JOBS_AT_ONCE):
                group.create_task(work())
    except* CommandError as group_error:
        raise _first(group_error) from None
    if failures:
        raise CommandError(
            f"{len(addresses) - there} of {len(addresses)} images could not be made: {failures[0]} "
            "The others are there; run it again to try those once more."
        )


def _chunks(addresses: Iterable[ImageAddress]) -> Iterator[list[ImageAddress]]:
    """Runs of seeds one after another, each as large as a job should be."""
    ordered = list(addresses)
    for _, run in itertools.groupby(enumerate(ordered), key=lambda item: item[1].seed - item[0]):
        images = [address for _, address in run]
        size = max(1, min(MAX_COUNT, _STEPS_A_JOB // images[0].steps))
        for start in range(0, len(images), size):
            yield images[start : start + size]


async def _take_back(client: AsyncClient, asked: asyncio.Future[Job]) -> None:
    """Whoever stops the command wants the rest no more. The server is not waited for if it does not answer soon."""
    with contextlib.suppress(ClientError, TimeoutError):
        async with asyncio.timeout(_LAST_WORD_SECONDS):
            await client.cancel((await asked).id)


def _first(group: BaseExceptionGroup[CommandError]) -> CommandError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group of exceptions is never empty")
