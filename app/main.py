"""Puts the front end together: settings in, an ASGI application out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import redis
import redis.asyncio
from fastapi import FastAPI
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app import errors, page, reference, routes
from app.access import Access
from app.event_hub import EventHub
from app.head_limit import HeadLimit
from app.head_requests import HeadRequests
from app.job_queue import JobQueue
from app.metrics import Exposition, FrontEndMetrics
from app.packing import packing
from app.queue_load import LoadMeter
from app.request_ids import HEADER, RequestIds
from app.security import ApiKeys, SecurityHeaders
from app.service import FlowerService
from app.settings import Settings
from app.state import State
from app.submission import Submitter
from app.valkey import socket_url
from worker.store import ImageStore, open_store

log = logging.getLogger("bouquet.api")

SWEEP_SECONDS: Final = 60.0

_REDIS_SECONDS: Final = 5.0
"""Within which Redis has to take a connection and to answer a command, and a connection to be free."""

_REDIS_CONNECTIONS: Final = 32


def create_app(settings: Settings, figures: Path | None = None) -> FastAPI:
    """The front end. Touches neither network nor disk before it is started.

    Who runs it calls its `state.hang_up()` when it is about to stop: event streams end then, and would not otherwise.
    `figures` is the folder in which it counts together with other processes (app/common_figures.py).
    """
    store = open_store(settings.store_location)
    metrics = FrontEndMetrics(figures)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with _open_state(settings, store, metrics) as state:
            app.state.hang_up = state.hub.hang_up
            yield {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}

    app = FastAPI(
        title="Bouquet",
        summary="Flowers out of noise.",
        version=version("bouquet"),
        lifespan=lifespan,
        middleware=_middleware(settings, metrics),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    app.include_router(routes.router)
    page.install(app)
    reference.install(app, with_keys=bool(settings.api_keys))
    return app


def _middleware(settings: Settings, metrics: FrontEndMetrics) -> list[Middleware]:
    """From the outside in."""
    keys = [key.get_secret_value() for key in settings.api_keys]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer", HEADER],
        expose_headers=["Location", "Retry-After", "ETag", "Content-Location", HEADER],
        max_age=3600,
    )
    return [
        Middleware(RequestIds),
        Middleware(Access, metrics=metrics),
        Middleware(SecurityHeaders),
        Middleware(HeadLimit),
        *([cors] if settings.cors_origins else []),
        Middleware(ApiKeys, keys=keys, public_images=settings.public_images),
        Middleware(HeadRequests),
        Middleware(errors.ErrorBoundary),
    ]


@contextlib.asynccontextmanager
async def _open_state(settings: Settings, store: ImageStore, metrics: FrontEndMetrics) -> AsyncIterator[State]:
    url = settings.redis_url or socket_url(settings.home)
    # No retries inside the client: a submission that broke off halfway must not be sent twice.
    # A pool that lets requests wait for a connection: a plain one refuses them once there are a hundred at a time.
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=_REDIS_CONNECTIONS,
        timeout=_REDIS_SECONDS,
        retry=AsyncRetry(NoBackoff(), 0),
        socket_timeout=_REDIS_SECONDS,
        socket_connect_timeout=_REDIS_SECONDS,
    )
    pool.connection_class = packing(pool.connection_class)
    connection = redis.asyncio.Redis.from_pool(pool)
    blocking = redis.Redis.from_url(
        url, retry=Retry(NoBackoff(), 0), socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS
    )
    queue = JobQueue(connection, blocking, settings.job_ttl)
    meter = LoadMeter(connection)
    submitter = Submitter(connection, queue, meter, store, settings.queue_limit, settings.job_ttl)
    hub = EventHub(connection, queue, meter, metrics.readers_changed)
    tasks = [asyncio.create_task(_sweep(queue)), asyncio.create_task(hub.run())]
    try:
        yield State(
            settings=settings,
            service=FlowerService(connection, queue, submitter, meter, store, metrics),
            meter=meter,
            hub=hub,
            metrics=metrics,
            exposition=Exposition(metrics, connection, meter, settings.queue_limit),
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await connection.aclose()
        blocking.close()


async def _sweep(queue: JobQueue) -> None:
    while True:
        try:
            await queue.sweep()
        except redis.RedisError as error:
            log.warning("The list of jobs could not be swept: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)
