"""`bouquet generate --server URL` and `bouquet morph`: pictures from a server, over HTTP, into files or a folder."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from app.bulk import Wish, addresses_of, fill
from app.bulk_folder import BulkFolder
from app.client import AsyncClient, Client, Retries
from app.command_error import CommandError
from app.npz import write_npz
from app.progress_line import ProgressLine
from app.schemas import Job
from worker.protocol import MAX_COUNT, MAX_SEED

_PATIENT: Final = Retries(busy=3600.0, outage=30.0, restart=60.0)
"""For many images: other people's jobs may fill the queue for a good while."""


_SLOW: Final = Retries(busy=600.0)
"""For a morph: as many images as it has frames, which the server lets no single request wait for."""


def generate(options: argparse.Namespace) -> int:
    """Ask a server for images and write them to files; prints the path of each, or of the folder or file of all."""
    if options.seed + options.count - 1 > MAX_SEED:
        raise CommandError(f"--seed + --count - 1 must be at most {MAX_SEED}.")
    if options.out is not None:
        return _generate_many(options, options.out)
    if options.count > MAX_COUNT:
        raise CommandError(f"--count {options.count}: for more than {MAX_COUNT} images name a folder, --out DIR.")
    return _generate_few(options)


def morph(options: argparse.Namespace) -> int:
    """Ask a server for the way from one flower to another and write it to a file, whose path is printed."""
    with Client(options.server, options.api_key, retries=_SLOW) as client:
        animation = client.morph(
            options.seed,
            options.toward,
            frames=options.frames,
            steps=options.steps,
            sampler=options.sampler,
            kind=options.kind,
        )
    _write(options.output, animation)
    return 0


def _generate_few(options: argparse.Namespace) -> int:
    output: Path = options.output
    with Client(options.server, options.api_key) as client:
        job = client.generate(
            steps=options.steps, seed=options.seed, count=options.count, sampler=options.sampler, kind=options.kind
        )
        line = ProgressLine(sys.stderr, job.progress.steps_total, "steps")

        def tell(job: Job) -> None:
            line.update(job.progress.steps_done, "waiting in the queue" if job.queue is not None else "")

        try:
            tell(job)
            job = client.wait(job, tell)
        finally:
            line.close()
        for image in job.images:
            path = output
            if options.count > 1:
                path = output.with_stem(f"{output.stem}-{image.seed}")
            _write(path, client.image(image))
    return 0


def _write(path: Path, picture: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
    except OSError as error:
        raise CommandError(f"--output {path} cannot be written: {error.strerror}.") from error
    print(path)


def _generate_many(options: argparse.Namespace, out: Path) -> int:
    as_npz = out.suffix == ".npz"
    if as_npz and out.exists():
        raise CommandError(f"--out {out} is there already. Remove it, or name another file.")
    wish = Wish(options.seed, options.count, options.steps, options.sampler, options.kind)
    # What is fetched for the file lies beside it until all is there: so this, too, goes on where it was.
    folder = BulkFolder(out.with_name(f"{out.name}.parts") if as_npz else out)

    async def run() -> None:
        async with AsyncClient(options.server, options.api_key, retries=_PATIENT) as client:
            addresses = await addresses_of(client, wish)
            line = ProgressLine(sys.stderr, wish.count, "images")
            with folder:
                try:
                    await fill(client, folder, addresses, line.update)
                finally:
                    line.close()
                if as_npz:
                    names = [address.name for address in addresses]
                    _pack(out, folder, [address.seed for address in addresses], names)
                    folder.remove(names)

    asyncio.run(run())
    print(out)
    return 0


def _pack(out: Path, folder: BulkFolder, seeds: list[int], names: list[str]) -> None:
    try:
        write_npz(out, ((seed, folder.read(name)) for seed, name in zip(seeds, names, strict=True)), len(seeds))
    except (OSError, ValueError) as error:
        raise CommandError(f"--out {out} cannot be written: {error}.") from error
