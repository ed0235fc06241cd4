"""Yahoo Finance's streamer: a WebSocket at `/`, with `?version=2` or without.

`{"subscribe": [...]}` and `{"unsubscribe": [...]}`; frames are `{"type": "pricing", "message":
<base64>}` from version 2 on, bare base64 before. Prices are those of `exchange.prices`.

What the real streamer does and a client has to live with, each configurable: a subscription
that is not sent again lapses without a word; a connection whose subscriptions do not change is
taken for idle and ended without a close frame (sending the same again does not count); frames
come twice, or late and so out of order; times are whole seconds, so that several frames share
one; heartbeats name no symbol; fields that older clients do not know appear.

A symbol without prices is accepted, and nothing comes. Faults: scripts' faults of connections
and messages with target venue "yahoo" (streams are symbols), and those of endpoint "yahoo" in
`exchange.news_faults`. `recorded` serves the recorded frames verbatim instead, with their own
times, over and over.
"""

import asyncio
import heapq
import json
import random
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from exchange.app import Venue
from exchange.connections import CLOSE, PONG, Connection, frame
from exchange.news_faults import NewsFault, faults_of
from exchange.parts import settings_of
from exchange.prices import Prices, prices_of
from exchange.prints import SECOND
from exchange.yahoo_frames import base64_of, enveloped, heartbeat, print_frame, recorded_frames

__all__ = ["YahooSettings", "routes"]

_log = structlog.get_logger(__name__)

_STEP_SECONDS = 0.02
_MESSAGE_BYTES = 1 << 20
_SPOILED = {
    "garbage": "%%% no base64 %%%",
    "wrong_json": '{"type":"pricing","message":',
    "wrong_type": '{"type":"pricing","message":12345}',
}


class YahooSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the streamer behaves. Shares are of all frames, drawn by the venue's seed."""

    # Real seconds after which a subscription that was not sent again lapses; clients send it
    # every 15 s.
    lapse_seconds: float = 30.0
    # Real seconds without a change of subscriptions after which the connection ends: about the
    # 20 minutes at which the real one does.
    idle_seconds: float = 1200.0
    heartbeat_seconds: float = 15.0  # real
    duplicate_share: float = 0.02
    late_share: float = 0.02
    late_seconds: float = 1.5  # venue time by which a late frame is late
    newer_share: float = 0.05  # with fields 34-47, and zeros written out
    # Venue seconds by which all frames of a symbol are behind, as {"7203.T": 1200}: delayed data.
    delays: dict[str, float] = {}
    recorded: bool = False
    recorded_seconds: float = 0.5  # real, from one recorded frame of a connection to the next
    send_buffer_bytes: int = 4 << 20  # what may wait for a slow reader before it is dropped


@dataclass(slots=True)
class _Subscription:
    renewed: float  # monotonic seconds
    sent_until: int  # venue time, ns


@dataclass(slots=True)
class _Client:
    connection: Connection
    version: int
    changed: float  # monotonic seconds of the last change of subscriptions
    next_heartbeat: float
    next_recorded: float
    recorded: int = 0
    sequence: int = 0
    symbols: dict[str, _Subscription] = field(default_factory=dict)
    # (due in venue time, sequence, symbol, frame)
    waiting: list[tuple[int, int, str, str]] = field(default_factory=list)


class _Streamer:
    """Serve all connections from one task."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._settings = settings_of(venue, YahooSettings)
        self._faults = faults_of(venue)
        self._prices: Prices | None = None  # read for the first client
        self._recorded = recorded_frames() if self._settings.recorded else []
        self._clients: dict[int, _Client] = {}
        self._cut: NewsFault | None = None

    # Sending.

    async def serve(self) -> None:
        """Send what is due, for ever."""
        while True:
            if self._clients:
                self._step(time.monotonic(), self._venue.clock.now())
            await asyncio.sleep(_STEP_SECONDS)

    def _step(self, now: float, venue_now: int) -> None:
        fault = self._faults.on("yahoo")
        faulty = self._venue.faults.apply if self._venue.faults.of_messages else None
        for client in [*self._clients.values()]:
            self._lapse(client, now)
            if self._recorded:
                self._replay(client, now, venue_now)
            else:
                self._collect(client, venue_now, fault)
            self._beat(client, now, venue_now)
            self._send_due(client, venue_now, fault)
            client.connection.flush(faulty)
            if now - client.changed > self._settings.idle_seconds:
                self._end_silently(client)
        if fault is not None and fault.kind == "cut" and fault is not self._cut:
            self._cut = fault
            for client in [*self._clients.values()]:
                client.connection.abort()

    def _lapse(self, client: _Client, now: float) -> None:
        oldest = now - self._settings.lapse_seconds
        for symbol, subscription in [*client.symbols.items()]:
            if subscription.renewed < oldest:
                del client.symbols[symbol]
                client.connection.streams.discard(symbol)
                self._venue.rules.count("yahoo_lapsed")

    def _collect(self, client: _Client, venue_now: int, fault: NewsFault | None) -> None:
        """Turn what was printed since the last time into frames, due now or late."""
        prices, settings = self._prices, self._settings
        if prices is None:
            return
        slower = fault.delay_seconds if fault is not None and fault.kind == "delay" else 0.0
        for symbol, subscription in client.symbols.items():
            behind = int(settings.delays.get(symbol, 0.0) * SECOND)
            after, until = subscription.sent_until - behind, venue_now - behind
            subscription.sent_until = venue_now
            for seen in prices.prints(symbol, after, until):
                draw = random.Random(f"{self._venue.settings.seed}:{symbol}:{seen.ts}")  # noqa: S311 - repeatable
                newer, twice, late = (draw.random() for _ in range(3))
                text = base64_of(print_frame(seen, newer=newer < settings.newer_share))
                due = seen.ts + behind + int(slower * SECOND)
                if late < settings.late_share:
                    due += int(settings.late_seconds * SECOND)
                for _ in range(2 if twice < settings.duplicate_share else 1):
                    self._wait(client, due, symbol, text)

    def _replay(self, client: _Client, now: float, venue_now: int) -> None:
        if now < client.next_recorded:
            return
        client.next_recorded = now + self._settings.recorded_seconds
        for _ in self._recorded:
            symbol, text = self._recorded[client.recorded % len(self._recorded)]
            client.recorded += 1
            if symbol in client.symbols:
                self._wait(client, venue_now, symbol, text)
                return

    def _beat(self, client: _Client, now: float, venue_now: int) -> None:
        if now >= client.next_heartbeat and client.symbols:
            client.next_heartbeat = now + self._settings.heartbeat_seconds
            self._wait(client, venue_now, "", base64_of(heartbeat(venue_now)))

    def _wait(self, client: _Client, due: int, symbol: str, text: str) -> None:
        client.sequence += 1
        heapq.heappush(client.waiting, (due, client.sequence, symbol, text))

    def _send_due(self, client: _Client, venue_now: int, fault: NewsFault | None) -> None:
        while client.waiting and client.waiting[0][0] <= venue_now:
            due, sequence, symbol, text = heapq.heappop(client.waiting)
            if fault is not None and fault.kind == "silent":
                self._venue.rules.count("yahoo_silenced")
                continue
            if symbol and symbol not in client.symbols:
                continue  # given up since
            whole = enveloped(text, version=client.version)
            if fault is not None and fault.kind in _SPOILED:
                whole = _SPOILED[fault.kind]
            client.connection.deliver(symbol, whole.encode(), due, sequence)

    def _end_silently(self, client: _Client) -> None:
        if not client.connection.gone:
            self._venue.rules.count("yahoo_idle_ends")
            client.connection.closing = True
            client.connection.transport.close()

    # Connections.

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Open a connection, and listen to it until it is gone."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return web.Response(status=426, text="This is Yahoo's streamer: connect a WebSocket.")
        fault = self._faults.on("yahoo")
        if fault is not None and fault.kind == "refuse":
            return web.Response(status=503, text="Service Unavailable")
        if self._prices is None:
            self._prices = await prices_of(self._venue)
        socket = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, max_msg_size=_MESSAGE_BYTES
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        venue, now = self._venue, time.monotonic()
        version = request.query.get("version", "1")
        connection = Connection(
            venue.next_connection(),
            "yahoo",
            transport,
            venue.rules,
            combined=False,
            send_buffer_bytes=self._settings.send_buffer_bytes,
            monotonic=time.monotonic,
        )
        client = _Client(
            connection,
            version=int(version) if version.isdecimal() else 1,
            changed=now,
            next_heartbeat=now + self._settings.heartbeat_seconds,
            next_recorded=now,
        )
        venue.rules.count("yahoo_connections")
        venue.connections.append(connection)
        self._clients[connection.number] = client
        try:
            await self._listen(socket, client)
        finally:
            del self._clients[connection.number]
            venue.connections.remove(connection)
            transport.close()
        return socket

    async def _listen(self, socket: Any, client: _Client) -> None:
        """Take what a client says until it is gone."""
        connection = client.connection
        while True:
            message = await socket.receive()
            if message.type in {WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR}:
                return
            if connection.half_open or connection.gone:
                if message.type is WSMsgType.CLOSE:
                    return
            elif message.type is WSMsgType.CLOSE:
                code = int(message.data or WSCloseCode.OK)
                connection.transport.write(frame(code.to_bytes(2, "big"), CLOSE))
                return
            elif message.type is WSMsgType.PING:
                connection.send(bytes(message.data), PONG)
            elif message.type is WSMsgType.TEXT:
                self._take(client, message.data)

    def _take(self, client: _Client, text: str) -> None:
        """Do what a message asks; one that asks nothing known is ignored, and counted."""
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict) or not {"subscribe", "unsubscribe"} & asked.keys():
            self._venue.rules.count("yahoo_bad_messages")
            _log.info("yahoo_message_ignored", connection=client.connection.number)
            return
        now = time.monotonic()
        for symbol in _symbols(asked.get("unsubscribe")):
            if client.symbols.pop(symbol, None) is not None:
                client.changed = now
            client.connection.streams.discard(symbol)
        for symbol in _symbols(asked.get("subscribe")):
            known = client.symbols.get(symbol)
            if known is not None:
                known.renewed = now
                continue
            client.changed = now
            client.symbols[symbol] = _Subscription(now, self._venue.clock.now())
            client.connection.streams.add(symbol)
            if self._prices is not None and symbol not in self._prices.symbols:
                self._venue.rules.count("yahoo_unknown_symbols")


def _symbols(names: Any) -> list[str]:
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve the streamer."""
    streamer = _Streamer(venue)
    venue.background.append(streamer.serve)
    return [web.get("/", streamer.connect)]
