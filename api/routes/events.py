"""The push, as Server-Sent Events and over a WebSocket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Header, Query, Request, WebSocket, WebSocketDisconnect
from starlette.requests import HTTPConnection
from starlette.responses import StreamingResponse

from api.access import Access, Principal, address_of, is_own_origin
from api.context import READ_PROBLEMS, Ctx, Reads
from api.events import Selection
from api.frames import TOPICS
from api.models import Symbol
from api.problems import Refusal
from api.push import Hub
from api.settings import ApiSettings

router = APIRouter(tags=["push"])
type TopicName = Literal[
    "bars", "signals", "trades", "portfolio", "outcomes", "headlines", "orders"
]
LastId = Annotated[str | None, Query(max_length=100, description="Go on behind this event.")]
_CHECKED = 5.0  # seconds between two looks at whether a listener may still listen
_PATIENCE = 5  # messages that make no sense, before a WebSocket is closed
_MOST_SYMBOLS = 500


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    topics: list[str] | None = None
    symbols: list[Annotated[str, msgspec.Meta(max_length=64)]] | None = None


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may say over a WebSocket."""

    subscribe: _Wanted


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses=READ_PROBLEMS
    | {200: {"description": "Events for ever.", "content": {"text/event-stream": {}}}},
)
async def events(
    request: Request,
    context: Ctx,
    principal: Reads,
    topic: Annotated[list[TopicName] | None, Query(max_length=7)] = None,
    symbol: Annotated[list[Symbol] | None, Query(max_length=_MOST_SYMBOLS)] = None,
    last_id: LastId = None,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> StreamingResponse:
    """Push `hello`, `frame`s, a `status` each second, and `reset` where a resume fails.

    A browser's EventSource goes on by itself, with `Last-Event-ID`.
    """
    selection = Selection(frozenset(topic or TOPICS), frozenset(symbol or ()))
    access: Access = request.app.state.access
    place = _place(context.hub, context.settings, address_of(request))

    async def told() -> AsyncIterator[bytes]:
        with place:
            checked = asyncio.get_running_loop().time()
            async for event in context.hub.listen(lambda: selection, last_event_id or last_id):
                now = asyncio.get_running_loop().time()
                if now - checked >= _CHECKED:
                    checked = now
                    if not access.still_good(principal):
                        return
                yield event.block

    return StreamingResponse(told(), media_type="text/event-stream")


@router.websocket("/ws")
async def ws(socket: WebSocket, last_id: str | None = None) -> None:
    """Push the same events as `{"event", "id", "data"}`; a client may `subscribe` to some."""
    context = socket.app.state.context
    access: Access = socket.app.state.access
    principal = _listener(access, socket)
    if principal is None:
        await socket.close(1008, "this needs an API key or a session")
        return
    try:
        place = _place(context.hub, context.settings, address_of(socket))
    except Refusal as refusal:
        await socket.close(1013, str(refusal.detail))
        return
    with place:
        await socket.accept()
        chosen = [Selection()]
        listening = asyncio.create_task(_tell(socket, context.hub, chosen, (last_id or "")[:100]))
        checking = asyncio.create_task(_check(access, principal))
        hearing = asyncio.create_task(_hear(socket, chosen))
        tasks = {listening, checking, hearing}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
            await socket.close(1008 if checking.done() and not checking.cancelled() else 1000)


def _listener(access: Access, socket: HTTPConnection) -> Principal | None:
    """Return who listens; browsers let every site's pages open WebSockets, so ask whose it is."""
    if not is_own_origin(socket):
        return None
    try:
        return access.who(socket)
    except Refusal:
        return None


async def _tell(socket: WebSocket, hub: Hub, chosen: list[Selection], last_id: str) -> None:
    async for event in hub.listen(lambda: chosen[0], last_id or None):
        await socket.send_text(event.text)


async def _check(access: Access, principal: Principal) -> None:
    while access.still_good(principal):  # noqa: ASYNC110 - keys end with time
        await asyncio.sleep(_CHECKED)


async def _hear(socket: WebSocket, chosen: list[Selection]) -> None:
    """Take a client's wishes until it leaves, or has said too much that makes no sense."""
    wrong = 0
    while wrong < _PATIENCE:
        message = await socket.receive()
        if message["type"] != "websocket.receive":
            return
        try:
            chosen[0] = _selection(message.get("text") or message.get("bytes") or b"")
            answer: dict[str, Any] = {"event": "subscribed", "id": None, "data": {}}
        except (ValueError, msgspec.MsgspecError):
            wrong += 1
            why = f'expected {{"subscribe": {{"topics": […], "symbols": […]}}}} of {list(TOPICS)}'
            answer = {"event": "error", "id": None, "data": {"detail": why}}
        await socket.send_text(msgspec.json.encode(answer).decode())


def _selection(said: str | bytes) -> Selection:
    wanted = msgspec.json.decode(said, type=_Said).subscribe
    topics = frozenset(TOPICS if wanted.topics is None else wanted.topics)
    symbols = frozenset(wanted.symbols or ())
    if not topics <= frozenset(TOPICS) or len(symbols) > _MOST_SYMBOLS:
        raise ValueError("no such topic, or too many symbols")
    return Selection(topics, symbols)


@contextlib.contextmanager
def _held(hub: Hub, address: str) -> Iterator[None]:
    hub.listeners[address] += 1
    try:
        yield
    finally:
        hub.listeners[address] -= 1
        hub.listeners += type(hub.listeners)()  # drops those at zero


def _place(
    hub: Hub, settings: ApiSettings, address: str
) -> contextlib.AbstractContextManager[None]:
    """Return a place among those who listen. Raises Refusal if all are taken."""
    if (
        hub.listeners.total() >= settings.listeners
        or hub.listeners[address] >= settings.listeners_per_address
    ):
        raise Refusal(503, "too many listen already", headers={"Retry-After": "10"})
    return _held(hub, address)
