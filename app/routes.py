"""The addresses. Each handler reads the request, asks the service, and shapes the answer; nothing is decided here."""

from __future__ import annotations

from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import ValidationError
from pydantic.json_schema import SkipJsonSchema

from app import health, reference, schemas
from app.bodies import read_json
from app.errors import ApiError, FieldError, ProblemCode, from_validation
from app.events import open_stream
from app.job_view import image_url
from app.negotiation import preferred_wait, wants_picture
from app.pictures import FOR_A_DAY, FOR_EVER, kept_by, picture_response
from app.reference import ALWAYS, ANIMATION, EVENTS, LOCATION, METRICS, NOT_MODIFIED, PICTURE, PICTURE_HEADERS, problems
from app.service import job_not_found
from app.state import State
from worker.protocol import GenerationRequest, ImageAddress, ProtocolError, parse_image_name

PRINTABLE: Final = r"^[!-~¡-¬®-ÿ](?:[ -~¡-¬®-ÿ]*[!-~¡-¬®-ÿ])?$"
"""What `str.isprintable` takes of what a header can hold; around it HTTP leaves spaces out."""

router = APIRouter()

JobId = Annotated[str, Path(description="The job's `id`.", max_length=128)]


def _state(request: Request) -> State:
    return cast("State", request.state)


def _json(model: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answers with a pydantic model; jobs change, so nobody keeps them."""
    headers = {"Cache-Control": "no-store"} | (headers or {})
    return Response(model.model_dump_json(), status, headers, media_type="application/json")


@router.post(
    "/generate",
    status_code=202,
    response_model=schemas.Job,
    summary="Make flowers",
    tags=["flowers"],
    openapi_extra=reference.json_body("GenerateBody")
    | reference.headers(
        prefer={"description": "`wait=10`: answer when the job has ended, but after 10 seconds at the latest."},
        idempotency_key={
            "description": "1 to 255 printable characters. The same key and body give the same job for 24 hours.",
            "minLength": 1,
            "maxLength": 255,
            "pattern": PRINTABLE,
        },
    ),
    responses={
        202: {"description": "Queued; look at `Location`.", "headers": LOCATION},
        200: {
            "description": "Finished within the time of `Prefer: wait=N`; the picture itself for `Accept: image/png`.",
            "model": schemas.Job,
            "content": PICTURE,
            "headers": LOCATION,
        },
        **problems(
            ProblemCode.INVALID_JSON,
            ProblemCode.NOT_ACCEPTABLE,
            ProblemCode.REQUEST_TIMEOUT,
            ProblemCode.IDEMPOTENCY_CONFLICT,
            ProblemCode.JOB_CANCELED,
            ProblemCode.BODY_TOO_LARGE,
            ProblemCode.UNSUPPORTED_MEDIA_TYPE,
            ProblemCode.INVALID_REQUEST,
            ProblemCode.QUEUE_FULL,
            ProblemCode.JOB_FAILED,
            ProblemCode.STORE_UNAVAILABLE,
            *ALWAYS,
        ),
    },
)
async def generate(request: Request) -> Response:
    """Queues a job and answers 202 with it.

    With `Accept: image/png` (and a count of 1) the answer is the picture itself, as long as it is made in time.
    """
    state = _state(request)
    try:
        body = schemas.GenerateBody.model_validate(await read_json(request))
    except ValidationError as error:
        raise from_validation(error) from None
    idempotency_key = request.headers.get("idempotency-key")
    if idempotency_key is not None and not (1 <= len(idempotency_key) <= 255 and idempotency_key.isprintable()):
        complaint = FieldError("Idempotency-Key", "must have 1 to 255 printable characters")
        raise ApiError(ProblemCode.INVALID_REQUEST, f"{complaint.field}: {complaint.message}.", errors=[complaint])
    as_picture = wants_picture(request.headers.get("accept"))
    if as_picture and body.count != 1:
        detail = f"image/png can hold one image and {body.count} were asked for. Take count 1, or Accept JSON."
        raise ApiError(ProblemCode.NOT_ACCEPTABLE, detail)

    job = await state.service.submit(body, idempotency_key)
    asked = preferred_wait(request.headers.get("prefer"))
    seconds = state.settings.wait_limit if asked is None and as_picture else min(asked or 0, state.settings.wait_limit)
    request.state.job_id = job.id
    if seconds:
        request.state.held = True
    headers = {"Location": f"/jobs/{job.id}", "Vary": "Accept, Prefer"}
    if asked is not None:
        headers["Preference-Applied"] = f"wait={seconds:.0f}"
    job = await state.service.wait(job, seconds)
    if as_picture and job.status.is_terminal:
        picture = await state.service.picture_of(job)
        headers["Content-Location"] = job.images[0].url
        return picture_response(request, picture, "no-store", headers)
    return _json(job, 200 if asked is not None and job.status.is_terminal else 202, headers)


@router.get(
    "/jobs",
    response_model=schemas.JobPage,
    summary="List jobs, newest first",
    tags=["jobs"],
    responses=problems(ProblemCode.INVALID_REQUEST, *ALWAYS),
)
async def list_jobs(request: Request, query: Annotated[schemas.JobsQuery, Query()]) -> Response:
    """A page of jobs. Follow `next_cursor` for older ones."""
    return _json(await _state(request).service.jobs(query.status, query.limit, query.cursor))


@router.get(
    "/jobs/{job_id}",
    response_model=schemas.Job,
    summary="Look at a job",
    tags=["jobs"],
    responses=problems(ProblemCode.JOB_NOT_FOUND, ProblemCode.INVALID_REQUEST, *ALWAYS),
)
async def get_job(request: Request, job_id: JobId) -> Response:
    """The job as it is now. 404 for an id that is unknown or has expired."""
    return _json(await _state(request).service.job(job_id))


@router.get(
    "/jobs/{job_id}/events",
    response_class=Response,
    summary="Watch a job",
    tags=["jobs"],
    responses={
        200: {"description": "The events, until the job has ended.", "content": EVENTS},
        204: {"description": "`Last-Event-ID` is that of `done`: there is nothing more to come."},
        **problems(ProblemCode.JOB_NOT_FOUND, ProblemCode.INVALID_REQUEST, *ALWAYS),
    },
)
async def watch_job(
    request: Request,
    job_id: JobId,
    last_event_id: Annotated[
        str | SkipJsonSchema[None], Header(description="The last id that was received: the stream goes on from there.")
    ] = None,
) -> Response:
    """Server-sent events: `status`, `progress`, `preview` and `done`.

    `status` (a Job) comes at first, and with each change; `progress` (a WatchedProgress) at most ten times a second;
    `preview` (a PreviewImage) shows an image as it is predicted so far, at most ten times a second in all; `done` (a
    Job) is the last. A slow reader misses progress and previews, never a status. Lines that begin with a colon only
    keep the connection alive.
    """
    stream = await open_stream(_state(request).hub, job_id, last_event_id)
    if stream is None:
        raise job_not_found(job_id)
    return stream


@router.delete(
    "/jobs/{job_id}",
    response_model=schemas.Job,
    summary="Cancel a job",
    tags=["jobs"],
    responses=problems(ProblemCode.JOB_NOT_FOUND, ProblemCode.JOB_ENDED, ProblemCode.INVALID_REQUEST, *ALWAYS),
)
async def cancel_job(request: Request, job_id: JobId) -> Response:
    """Cancels a queued or running job and answers with it. A running one gives up its slots at the next tick."""
    return _json(await _state(request).service.cancel(job_id))


@router.get(
    "/images/{name}",
    response_class=Response,
    summary="Fetch an image",
    tags=["flowers"],
    responses={
        200: {
            "description": "The PNG; a frame of a morph is a WebP.",
            "content": PICTURE | ANIMATION,
            "headers": PICTURE_HEADERS,
        },
        304: NOT_MODIFIED,
        **problems(
            ProblemCode.IMAGE_NOT_FOUND,
            ProblemCode.JOB_CANCELED,
            ProblemCode.QUEUE_FULL,
            ProblemCode.JOB_FAILED,
            ProblemCode.FLOWER_PENDING,
            ProblemCode.STORE_UNAVAILABLE,
            *ALWAYS,
        ),
    },
)
async def get_image(
    request: Request,
    name: Annotated[
        str,
        Path(
            description="`<revision>-<seed>-<steps>.png`, or `<revision>-<seed>-<steps>-multistep.png`",
            examples=["3f9a0c1b2d4e-7-20.png"],
        ),
    ],
) -> Response:
    """The image at its exact address, which a Job tells. What is there never changes.

    An image that is not kept any more is made again, as a flower is, as long as its bundle is the one that is served.
    """
    try:
        address = parse_image_name(name)
    except ProtocolError:
        raise _image_not_found(name) from None
    state = _state(request)
    if (picture := await state.service.image(address)) is not None:
        state.metrics.picture(hit=True)
    else:
        picture = await state.service.image_again(address, state.settings.wait_limit)
    if picture is None:
        state.metrics.picture(hit=False)
        raise _image_not_found(name)
    return picture_response(request, picture, kept_by(state.settings, FOR_EVER))


@router.get(
    "/flowers/{seed}.png",
    response_class=Response,
    summary="Fetch the flower of a seed",
    tags=["flowers"],
    responses={
        200: {
            "description": "The PNG. `Content-Location` is its exact address.",
            "content": PICTURE,
            "headers": PICTURE_HEADERS,
        },
        304: NOT_MODIFIED,
        **problems(
            ProblemCode.IMAGE_NOT_FOUND,
            ProblemCode.JOB_CANCELED,
            ProblemCode.INVALID_REQUEST,
            ProblemCode.QUEUE_FULL,
            ProblemCode.JOB_FAILED,
            ProblemCode.FLOWER_PENDING,
            ProblemCode.NOT_READY,
            ProblemCode.STORE_UNAVAILABLE,
            *ALWAYS,
        ),
    },
)
async def get_flower(
    request: Request, seed: Annotated[schemas.AddressSeed, Path()], query: Annotated[schemas.FlowerQuery, Query()]
) -> Response:
    """That flower by the bundle that is served, made if need be, which may take a while.

    503 `flower-pending` with Retry-After if it takes longer than the server lets a request wait.
    """
    state = _state(request)
    after = query.after if query.after is not None and query.after < query.steps else None
    revision = await state.service.served_revision()
    address = ImageAddress(revision, seed, query.steps, query.sampler, after=after or 0, kind=query.kind or "")
    picture = await state.service.flower(address, state.settings.wait_limit)
    cache_control = kept_by(state.settings, FOR_A_DAY)
    return picture_response(request, picture, cache_control, {"Content-Location": image_url(address.name)})


@router.get(
    "/morphs/{seed}-{toward}.webp",
    response_class=Response,
    summary="Fetch the way from one flower to another",
    tags=["flowers"],
    responses={
        200: {"description": "An animated WebP, without loss.", "content": ANIMATION, "headers": PICTURE_HEADERS},
        304: NOT_MODIFIED,
        **problems(
            ProblemCode.NOT_FOUND,
            ProblemCode.IMAGE_NOT_FOUND,
            ProblemCode.JOB_CANCELED,
            ProblemCode.INVALID_REQUEST,
            ProblemCode.QUEUE_FULL,
            ProblemCode.JOB_FAILED,
            ProblemCode.FLOWER_PENDING,
            ProblemCode.NOT_READY,
            ProblemCode.STORE_UNAVAILABLE,
            *ALWAYS,
        ),
    },
)
async def get_morph(
    request: Request,
    seed: Annotated[schemas.AddressSeed, Path()],
    toward: Annotated[schemas.AddressSeed, Path(description="Another seed.", examples=[8])],
    query: Annotated[schemas.MorphQuery, Query()],
) -> Response:
    """An animation whose first frame is the flower of one seed and whose last is that of another.

    Between them the starting noises are interpolated on the arc (spherically). All frames are one job in the queue.
    503 `flower-pending` with Retry-After if it takes longer than the server lets a request wait.
    """
    if seed == toward:
        complaint = FieldError("toward", "must be another seed than the first")
        raise ApiError(ProblemCode.INVALID_REQUEST, f"{complaint.field}: {complaint.message}.", errors=[complaint])
    state = _state(request)
    wish = GenerationRequest(query.steps, seed, query.frames, query.sampler, toward, kind=query.kind)
    animation = await state.service.morph(await state.service.served_revision(), wish, state.settings.wait_limit)
    return picture_response(request, animation, kept_by(state.settings, FOR_A_DAY))


@router.get(
    "/model",
    response_model=schemas.ModelDescription,
    summary="What is served",
    tags=["service"],
    responses=problems(ProblemCode.NOT_READY, *ALWAYS),
)
async def get_model(request: Request) -> Response:
    """The bundle that the workers have loaded: name, hash, image size, training data, recipe, scores."""
    return Response(
        await _state(request).service.model(), media_type="application/json", headers={"Cache-Control": "no-cache"}
    )


@router.get(
    "/metrics",
    response_class=Response,
    summary="Figures for Prometheus",
    tags=["service"],
    responses={
        200: {"description": "The text format, or OpenMetrics for who asks for it.", "content": METRICS},
        **problems(ProblemCode.UNAUTHORIZED, ProblemCode.INTERNAL_ERROR),
    },
)
async def get_metrics(request: Request) -> Response:
    """Requests, queue, workers, images: docs/operations.md explains each. Answers without Redis, too."""
    body, media_type = await _state(request).exposition.write(request.headers.get("accept", ""))
    return Response(body, headers={"Cache-Control": "no-store", "Content-Type": media_type})


@router.get(
    "/health/live",
    response_model=schemas.Health,
    summary="Is the front end alive?",
    tags=["service"],
    responses=problems(ProblemCode.INTERNAL_ERROR),
)
async def get_live() -> Response:
    """200 as long as this process answers."""
    return _json(health.live())


@router.get(
    "/health/ready",
    response_model=schemas.Health,
    summary="Can flowers be made?",
    tags=["service"],
    responses=problems(ProblemCode.NOT_READY, ProblemCode.INTERNAL_ERROR),
)
async def get_ready(request: Request) -> Response:
    """200 when Redis answers and a worker has loaded its bundle and warmed up; else 503 with the reason."""
    return _json(await health.ready(_state(request).meter))


def _image_not_found(name: str) -> ApiError:
    detail = f"There is no image {name[:64]!r}. GET /flowers/<seed>.png makes the flower of a seed if need be."
    return ApiError(ProblemCode.IMAGE_NOT_FOUND, detail)
