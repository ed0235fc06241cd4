"""Faults of requests, as a middleware before all venues' routes. /exchange/ is never struck."""

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from exchange.faults import Kind

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["CONTROL", "rest_faults"]

CONTROL = "/exchange/"

_TOO_MANY = b'{"code":-1003,"msg":"Too many requests; current limit of IP is used up."}'
_BANNED = b'{"code":-1003,"msg":"Way too many requests; IP banned."}'
_WRONG = b'{"code":0,"data":[{"a":12,"p":'


def _json(status: int, body: bytes, **headers: str) -> web.Response:
    return web.Response(
        status=status, body=body, content_type="application/json", headers=headers or None
    )


def _abort(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody is there to get it


def rest_faults(venue: "Venue") -> Middleware:
    """Make the middleware that lets the faults that are on strike requests."""

    @web.middleware
    async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(CONTROL) or not venue.faults.running:
            return await handler(request)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            if venue.faults.on(Kind.REFUSE):
                venue.rules.count("connections_refused")
                return _abort(request)
            return await handler(request)
        if fault := venue.faults.on(Kind.REST_SLOW, request.path):
            await asyncio.sleep(fault.delay_seconds)
        if (struck := _struck(venue, request)) is None:
            return await handler(request)
        venue.rules.count("rest_faults")
        return struck

    return strike


def _struck(venue: "Venue", request: web.Request) -> web.Response | None:
    """Answer as the fault that is on wants it, if any is."""
    on, path = venue.faults.on, request.path
    if fault := on(Kind.REST_DOWN, path):
        if fault.mode == "abort":
            return _abort(request)
        return web.Response(status=503, text="<html>503 Service Unavailable</html>")
    if fault := on(Kind.REST_418, path):
        return _json(418, _BANNED, **{"Retry-After": str(fault.retry_after)})
    if fault := on(Kind.REST_429, path):
        return _json(429, _TOO_MANY, **{"Retry-After": str(fault.retry_after)})
    return _json(200, _WRONG) if on(Kind.REST_WRONG_JSON, path) else None
