"""`bouquet generate --server URL`: flowers from a server, over HTTP."""

import argparse
import sys
from pathlib import Path

from app.client import Client
from app.command_error import CommandError
from app.schemas import Job


def generate(options: argparse.Namespace) -> int:
    """Ask a server for images and write them to files; prints the path of each."""
    output: Path = options.output
    with Client(options.server, options.api_key) as client:
        job = client.submit(options.steps, options.seed, options.count, options.sampler)
        job = client.wait(job, _tell if sys.stderr.isatty() else None)
        for image in job.images:
            path = output
            if options.count > 1:
                path = output.with_stem(f"{output.stem}-{image.seed}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(client.picture(image))
            except OSError as error:
                raise CommandError(f"--output {path} cannot be written: {error.strerror}.") from error
            print(path)
    return 0


def _tell(job: Job) -> None:
    progress = job.progress
    print(
        f"\r{job.status} {progress.steps_done}/{progress.steps_total} steps",
        end="\n" if job.status.is_terminal else "",
        file=sys.stderr,
    )
