"""The pages for people: `/`, the reference at `/docs`, and the files they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

STATIC: Final = Path(__file__).parent / "static"

_REVALIDATED: Final = {"Cache-Control": "no-cache"}


class _RevalidatedFiles(StaticFiles):
    """Static files that a browser asks about each time (304 if unchanged), so that an upgrade is seen at once."""

    def file_response(self, *arguments: object, **named: object) -> Response:
        response = super().file_response(*arguments, **named)  # type: ignore[arg-type]
        response.headers.update(_REVALIDATED)
        return response


def install(app: FastAPI) -> None:
    """Adds the pages to `app`."""

    async def flowers(_request: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers=_REVALIDATED)

    async def docs(_request: Request) -> Response:
        return FileResponse(STATIC / "docs.html", headers=_REVALIDATED)

    async def icon(_request: Request) -> Response:
        return FileResponse(STATIC / "icon.svg", headers=_REVALIDATED)

    app.add_route("/", flowers, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
    app.add_route("/favicon.ico", icon, include_in_schema=False)
    app.mount("/static", _RevalidatedFiles(directory=STATIC), name="static")
