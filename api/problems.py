"""Errors in one shape, RFC 9457: whatever goes wrong, wherever."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi import HTTPException as FastApiException
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from api.models import Problem
from api.reader import BadCursor
from api.rows import TooLong
from connectors.secrets import redact
from operators.errors import EngineError, StoreError

MEDIA_TYPE = "application/problem+json"


class Refusal(FastApiException):
    """An answer that is an error, with a sentence for people."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """Refuse with `status`; `more` are further members of the problem."""
        super().__init__(status, detail, dict(headers or {}))
        self.more = more


def problem(
    status: int,
    detail: str,
    instance: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """Return an error as a response."""
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, instance=instance, **more
    )
    told = body.model_dump(mode="json")
    for optional in ("errors", "components"):
        if not told[optional]:
            del told[optional]
    return JSONResponse(told, status, dict(headers or {}), media_type=MEDIA_TYPE)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for OpenAPI."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def handle(app: FastAPI) -> None:
    """Give every error of `app` the one shape."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        more = error.more if isinstance(error, Refusal) else {}
        detail = str(error.detail)
        if not isinstance(error, Refusal):
            detail = _PLAIN.get(error.status_code, detail)
        return problem(error.status_code, detail, request.url.path, headers=error.headers, **more)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # Without what was sent, which may be a secret, or no JSON at all.
        errors = [
            {"where": [str(part) for part in each["loc"]], "why": str(each["msg"])}
            for each in error.errors()
        ]
        told = jsonable_encoder(errors)
        return problem(422, "the request is not as described", request.url.path, errors=told)

    @app.exception_handler(EngineError)
    async def _engine(request: Request, error: EngineError) -> JSONResponse:
        path = request.url.path
        if isinstance(error, BadCursor):
            return problem(422, str(error), path)
        if isinstance(error, TooLong):
            return problem(503, str(error), path, headers={"Retry-After": "1"})
        if not isinstance(error, StoreError):
            structlog.get_logger(__name__).error("request_failed", why=redact(str(error)))
        # Words for the log may name paths and hosts; those outside need to know less.
        structlog.get_logger(__name__).warning("store_unavailable", why=redact(str(error)))
        return problem(503, "the store cannot be used now", path, headers={"Retry-After": "2"})

    @app.exception_handler(Exception)
    async def _broken(request: Request, error: Exception) -> JSONResponse:
        return broken(request.url.path, error)


def broken(path: str, error: Exception) -> JSONResponse:
    """Return a 500 for what nobody has foreseen, and log it."""
    structlog.get_logger(__name__).error(
        "request_broke", path=path, error=type(error).__name__, exc_info=error
    )
    return problem(500, "something broke here; the log says what", path)


_PLAIN = {
    404: "there is nothing under this path",
    405: "this path is not for this method",
    400: "the request cannot be read",
}
