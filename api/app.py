"""The API as one application: routes, guard, errors, and what it is described as."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response, Security
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from api import models
from api.access import Access, bearer, cookie
from api.context import Context, Reads
from api.guard import Guard
from api.health import components, status_of
from api.keys import KeyStore
from api.problems import handle
from api.prometheus import exposition
from api.routes import (
    alerts,
    book,
    events,
    learning,
    losses,
    market,
    orders,
    session,
    signals,
    system,
)

STATIC = Path(__file__).parent / "static"
VERSION = "1"
_ABOUT = """What the engine decided, on what and why, and the orders that operators may give it.

Times are UNIX nanoseconds UTC. Errors are `application/problem+json` (RFC 9457), all of one shape.
Listings are paged by `cursor`: give `next` of a page to get the one behind it. The push tells each
bar close as it comes: `/api/v1/events`, or a WebSocket at `/api/v1/ws`.
"""


def make_app(context: Context, keys: KeyStore) -> FastAPI:
    """Return the application over what `context` holds; it opens and closes the push."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with context.hub:
            yield
        context.reader.rows.close()
        context.alerts.close()

    app = FastAPI(
        title="NextGen trading engine",
        description=_ABOUT,
        version=VERSION,
        openapi_url=None,  # it is served behind the access below
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    access = Access(context.settings, keys)
    app.state.context = context
    app.state.access = access
    handle(app)
    api = APIRouter(prefix="/api/v1", dependencies=[Security(bearer), Security(cookie)])
    for part in (
        system, market, signals, book, learning, losses, alerts, orders, session, events
    ):  # fmt: skip
        api.include_router(part.router)
    app.include_router(api)
    _serve_files(app, context)

    def guarded(inner: ASGIApp) -> Guard:
        context.guard = Guard(inner, context.settings, access)
        return context.guard

    app.add_middleware(guarded)  # type: ignore[arg-type] # a function that makes one
    return app


def _serve_files(app: FastAPI, context: Context) -> None:
    """Serve the dashboard, the description and the figures for Prometheus."""

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    async def openapi(request: Request, _: Reads) -> dict[str, Any]:
        return describe(request.app)

    @app.get("/metrics", include_in_schema=False)
    def metrics(_: Reads) -> Response:
        return Response(exposition(context), media_type=CONTENT_TYPE_LATEST)

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI description, made once."""
    if app.openapi_schema is None:
        described = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        _add_problem(described)
        app.openapi_schema = described
    return app.openapi_schema


def _add_problem(described: dict[str, Any]) -> None:
    """Describe errors as what they are, in the place of FastAPI's own."""
    schemas = described["components"]["schemas"]
    problem = models.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= problem.pop("$defs", {})
    schemas["Problem"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)


def status(context: Context) -> dict[str, Any]:
    """Return what the push tells each second."""
    parts = components(context.reader, context.control)
    return {
        "status": status_of(parts),
        "components": parts,
        "last_close": context.hub.position or None,
        "alerts": context.alerts.standing(),
    }
