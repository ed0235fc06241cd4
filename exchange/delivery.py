"""How an HTTP endpoint's answer gets to the client: validators, compression, and the faults."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple

from aiohttp import hdrs, web

from exchange.app import Venue
from exchange.news_faults import NewsFault, faults_of

__all__ = ["deliver", "deliver_json"]

_HUGE = 32 * 1024 * 1024
_CHUNK = 64 * 1024
_CHARSETS = {"wrong_encoding": "iso-8859-1", "bad_charset": "x-nonsense"}
_PAGE = b"<!doctype html><html><head><title>Just a moment...</title></head><body></body></html>"


class _Answer(NamedTuple):
    fault: NewsFault
    body: bytes
    content_type: str


async def deliver_json(
    request: web.Request,
    venue: Venue,
    endpoint: str,
    body: Any,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer `body` as JSON; see `deliver`."""
    text = json.dumps(body, ensure_ascii=False).encode()
    return await deliver(
        request, venue, endpoint, text, "application/json", status=status, headers=headers
    )


async def deliver(
    request: web.Request,
    venue: Venue,
    endpoint: str,
    body: bytes,
    content_type: str,
    *,
    charset: str = "utf-8",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    modified: int | None = None,
) -> web.StreamResponse:
    """Answer `body`, or what the fault that `endpoint` has makes of it.

    With `modified` (UNIX seconds) the answer has an ETag and Last-Modified, and a request that
    knows them gets 304; If-None-Match decides where both are sent, as RFC 9110 has it.
    """
    venue.rules.count(f"{endpoint}_requests")
    fault = faults_of(venue).take(endpoint)
    sent = dict(headers or {})
    if fault is not None:
        venue.rules.count(f"{endpoint}_faults")
        if fault.kind == "slow":
            await asyncio.sleep(fault.delay_seconds)
        else:
            spoiled = await _spoiled(request, venue, _Answer(fault, body, content_type))
            if spoiled is not None:
                return spoiled
            charset = _CHARSETS.get(fault.kind, charset)
    if modified is not None:
        etag = hashlib.blake2b(body, digest_size=12).hexdigest()
        sent[hdrs.ETAG] = f'"{etag}"'
        sent[hdrs.LAST_MODIFIED] = format_datetime(
            datetime.fromtimestamp(modified, UTC), usegmt=True
        )
        if _known(request, etag, modified):
            venue.rules.count(f"{endpoint}_not_modified")
            return web.Response(status=304, headers=sent)
    response = web.Response(
        status=status,
        body=body,
        headers=sent | {hdrs.CONTENT_TYPE: f"{content_type}; charset={charset}"},
    )
    if len(body) > 1024:
        response.enable_compression()
    return response


def _known(request: web.Request, etag: str, modified: int) -> bool:
    tags = request.if_none_match
    if tags is not None:
        return any(tag.value in {etag, "*"} for tag in tags)
    since = request.if_modified_since
    return since is not None and modified <= int(since.timestamp())


async def _spoiled(
    request: web.Request, venue: Venue, answer: _Answer
) -> web.StreamResponse | None:
    """Answer as the fault does; None where it only changes the headers, or is the caller's."""
    make = _WHOLE.get(answer.fault.kind)
    if make is not None:
        return make(answer)
    stream = _STREAMED.get(answer.fault.kind)
    return await stream(request, venue, answer) if stream is not None else None


def _page(answer: _Answer, body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": answer.content_type})


def _error(answer: _Answer, status: int, text: str) -> web.Response:
    again = {"Retry-After": str(answer.fault.retry_after_seconds)} if status != 500 else {}
    return web.Response(status=status, text=text, headers=again)


_WHOLE: dict[str, Callable[[_Answer], web.Response]] = {
    "500": lambda answer: _error(answer, 500, "Internal Server Error"),
    "503": lambda answer: _error(answer, 503, "Service Unavailable"),
    "429": lambda answer: _error(answer, 429, "Too Many Requests"),
    "html": lambda _: web.Response(body=_PAGE, content_type="text/html"),
    "empty": lambda answer: _page(answer, b""),
    "truncated": lambda answer: _page(answer, answer.body[: len(answer.body) // 2]),
    "malformed": lambda answer: _page(answer, _malformed(answer.body, answer.content_type)),
}


async def _hang(request: web.Request, venue: Venue, answer: _Answer) -> web.StreamResponse:
    """Say nothing until the fault is over or switched off, then end the connection."""
    faults = faults_of(venue)
    while answer.fault in faults.active():  # noqa: ASYNC110 - it ends by time, not by an event
        await asyncio.sleep(0.05)
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # nobody is there to get it


async def _cut(request: web.Request, _: Venue, answer: _Answer) -> web.StreamResponse:
    """Send half of what the header announces."""
    response = web.StreamResponse(headers={"Content-Type": answer.content_type})
    response.content_length = len(answer.body) + 2
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2])
    if request.transport is not None:
        request.transport.close()  # unlike abort this sends what was written
    return response


async def _huge(request: web.Request, _: Venue, answer: _Answer) -> web.StreamResponse:
    """Send the answer after 32 MiB of white space, without saying how long it will be."""
    response = web.StreamResponse(headers={"Content-Type": answer.content_type})
    await response.prepare(request)
    # White space is allowed before JSON, and in XML anywhere but before its declaration.
    body = answer.body
    end = body.find(b"?>") + 2 if body.startswith(b"<?xml") else 0
    try:
        await response.write(body[:end])
        for _chunk in range(_HUGE // _CHUNK):
            await response.write(b" " * _CHUNK)
        await response.write(body[end:])
        await response.write_eof()
    except ConnectionError:
        return response  # a client that had enough
    return response


_STREAMED: dict[str, Callable[[web.Request, Venue, _Answer], Awaitable[web.StreamResponse]]] = {
    "hang": _hang,
    "cut": _cut,
    "huge": _huge,
}


def _malformed(body: bytes, content_type: str) -> bytes:
    if "xml" in content_type:
        return body.replace(b"</title>", b"</titel>", 1).replace(b"&amp;", b"&")
    return body.replace(b":", b";", 1) if b":" in body else body[:-1]
