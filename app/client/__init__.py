"""A client of the HTTP API, for `bouquet generate --server URL` and for programs; `Client` and, alike, `AsyncClient`.

with Client("http://127.0.0.1:8000") as client:
    job = client.wait(client.generate(seed=7, count=4))
    pictures = [client.image(image) for image in job.images]

What may be tried again is tried again: after 429 and 503 as late as the server says, after a connection that broke, or
a proxy's 502 or 504, with growing pauses. A job is asked for with an Idempotency-Key, so that no number of attempts
makes two of it.
"""

from app.client.aio import AsyncClient
from app.client.core import Retries
from app.client.errors import (
    ClientError,
    ConflictError,
    DamagedError,
    InvalidRequestError,
    JobCanceledError,
    JobFailedError,
    NotBouquetError,
    NotFoundError,
    QueueFullError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from app.client.events import Done, JobEvent, Preview, Progress, Status
from app.client.sync import Client

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "ConflictError",
    "DamagedError",
    "Done",
    "InvalidRequestError",
    "JobCanceledError",
    "JobEvent",
    "JobFailedError",
    "NotBouquetError",
    "NotFoundError",
    "Preview",
    "Progress",
    "QueueFullError",
    "Retries",
    "Status",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
]
