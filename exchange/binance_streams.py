"""Binance's WebSocket streams: /ws/<stream>, /ws and /stream?streams=a/b, with its rules.

Streams: <symbol>@trade, @aggTrade, @bookTicker and @kline_<interval>. As at Binance, a stream
that is not known is accepted, and nothing ever comes on it.
"""

import asyncio
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from exchange.binance_control import Control
from exchange.clock import SECOND
from exchange.connection_faults import announce_shutdown
from exchange.connections import CLOSE, PING, PONG, Connection, frame
from exchange.instruments import Instrument
from exchange.kline_streams import KlineStreams
from exchange.rules import RollingWindow

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["Streams", "routes"]

_log = structlog.get_logger(__name__)

_STEP_SECONDS = 0.002
# At most so much of real time is sent in one step: a venue that cannot keep up comes late, but
# answers pings and requests.
_MOST_SECONDS = 0.05
_MESSAGE_BYTES = 1 << 20


def routes(venue: "Venue") -> list[web.RouteDef]:
    """Give the routes of Binance's WebSocket streams."""
    streams = Streams(venue)
    venue.background.append(streams.serve)
    return [
        web.get("/ws", streams.bare),
        web.get("/ws/{streams:.*}", streams.bare),
        web.get("/stream", streams.combined),
    ]


class Client:
    """What is remembered of a client beside its connection."""

    def __init__(self, connection: Connection, venue: "Venue", now: float) -> None:
        """Begin with a client that has just connected."""
        rules = venue.settings.binance
        self.connection = connection
        self.incoming = RollingWindow(rules.messages_per_window, rules.message_window_seconds)
        self.next_ping = now + rules.ping_seconds
        self.pings: deque[tuple[bytes, float]] = deque()  # those not answered, oldest first
        notice = min(rules.shutdown_notice_seconds, rules.max_age_seconds / 2)
        self.announced = False
        self.announce_at = now + rules.max_age_seconds - notice
        self.ends_at = now + rules.max_age_seconds

    def answered(self, payload: bytes) -> None:
        """Take a pong: only the payload of a ping answers it, and all that came before."""
        if any(sent == payload for sent, _ in self.pings):
            while self.pings.popleft()[0] != payload:
                pass


class Streams:
    """Serve the market's events to all connections, from one task."""

    def __init__(self, venue: "Venue") -> None:
        """Prepare; `serve` sends."""
        self.venue = venue
        self.rules = venue.settings.binance
        self._clients: dict[int, Client] = {}
        self._attempts: dict[str, RollingWindow] = {}
        self._subscribers: defaultdict[str, list[Connection]] = defaultdict(list)
        self._instruments = {
            name: instrument
            for instrument in venue.market.instruments.values()
            for name in instrument.names.values()
        }
        self._watched: dict[str, Instrument] = {}  # by symbol: those with a subscriber
        self._sent_until: int | None = None  # place on the schedule
        self._klines = KlineStreams(venue, self._deliver)

    # Subscriptions.

    def subscribe(self, connection: Connection, stream: str) -> None:
        """Send `stream` to `connection` from now on."""
        if stream in connection.streams:
            return
        connection.streams.add(stream)
        if instrument := self._instruments.get(stream):
            if instrument.symbol not in self._watched:
                instrument.seek(self.venue.clock.position())
                self._watched[instrument.symbol] = instrument
        elif not self._klines.watch(stream):
            self.venue.rules.count("binance_unknown_streams")
            _log.info("unknown_stream", stream=stream)
            return
        self._subscribers[stream].append(connection)

    def unsubscribe(self, connection: Connection, stream: str) -> None:
        """Send `stream` no more to `connection`."""
        connection.streams.discard(stream)
        left = self._subscribers.get(stream, [])
        if connection in left:
            left.remove(connection)
        if left:
            return
        self._subscribers.pop(stream, None)
        self._klines.forget(stream)
        instrument = self._instruments.get(stream)
        if instrument and not any(one in self._subscribers for one in instrument.names.values()):
            self._watched.pop(instrument.symbol, None)

    # Sending.

    async def serve(self) -> None:
        """Send what is due, for ever."""
        while True:
            if self._clients:
                self.step(time.monotonic())
            else:
                self._sent_until = None
            await asyncio.sleep(_STEP_SECONDS)

    def step(self, now: float) -> None:
        """Send all that is due now."""
        clock = self.venue.clock
        position = clock.position()
        if self._sent_until is not None:
            most = self._sent_until + int(_MOST_SECONDS * SECOND * clock.speed)
            if position > most:
                self.venue.rules.count("binance_steps_behind")
                position = most
        self._sent_until = position
        for instrument in self._watched.values():
            if instrument.next_place <= position:
                self._send_due(instrument, position)
        self._klines.push(position)
        faulty = self.venue.faults.apply if self.venue.faults.of_messages else None
        for client in list(self._clients.values()):
            client.connection.flush(faulty)
            self._keep(client, now)

    def _send_due(self, instrument: Instrument, position: int) -> None:
        subscribers = self._subscribers
        names, prefix = instrument.names, instrument.prefix
        while (place := instrument.next_place) <= position:
            event = instrument.next_event
            listening = subscribers.get(names[event.kind])
            if listening:
                bare = instrument.payload(instrument.cursor)
                combined = b"%b%b}" % (prefix[event.kind], bare)
                for connection in listening:
                    connection.deliver(
                        names[event.kind],
                        combined if connection.combined else bare,
                        place,
                        event.order,
                    )
            instrument.advance()

    def _deliver(self, stream: str, bare: bytes, place: int) -> None:
        combined = b'{"stream":"%b","data":%b}' % (stream.encode(), bare)
        for connection in self._subscribers.get(stream, ()):
            connection.deliver(stream, combined if connection.combined else bare, place)

    def _keep(self, client: Client, now: float) -> None:
        """Ping, and end what did not answer or is too old."""
        connection = client.connection
        if connection.half_open or connection.gone:
            return
        if client.pings and now - client.pings[0][1] > self.rules.pong_seconds:
            self.venue.rules.breach("no_pong")
            connection.abort()
        elif now >= client.next_ping:
            payload = str(self.venue.clock.now_ms()).encode()
            connection.send(payload, PING)
            client.pings.append((payload, now))
            client.next_ping = now + self.rules.ping_seconds
        if now >= client.announce_at and not client.announced:
            client.announced = True
            announce_shutdown(connection, self.venue.clock.now_ms(), client.ends_at - now)
            self.venue.rules.count("announced_shutdowns")

    # Connections.

    async def bare(self, request: web.Request) -> web.StreamResponse:
        """Serve /ws and /ws/<stream>: bare messages."""
        return await self._connect(request, request.match_info.get("streams", ""), combined=False)

    async def combined(self, request: web.Request) -> web.StreamResponse:
        """Serve /stream?streams=a/b: messages wrapped with their stream's name."""
        return await self._connect(request, request.query.get("streams", ""), combined=True)

    async def _connect(
        self, request: web.Request, streams: str, *, combined: bool
    ) -> web.StreamResponse:
        now = time.monotonic()
        venue = self.venue
        rules = self.rules
        window = self._attempts.setdefault(
            request.remote or "",
            RollingWindow(rules.attempts_per_window, rules.attempt_window_seconds),
        )
        if not window.take(now):
            venue.rules.breach("connection_attempts", request.remote or "")
            wait = str(int(window.seconds_until(now)) + 1)
            return web.Response(status=429, headers={"Retry-After": wait})
        if request.query.get("timeUnit", "MILLISECOND").upper() != "MILLISECOND":
            return web.Response(status=400, text="this venue serves milliseconds only")
        socket = web.WebSocketResponse(
            autoping=False,
            autoclose=False,
            compress=False,
            timeout=1.0,
            max_msg_size=_MESSAGE_BYTES,
        )
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        connection = Connection(
            venue.next_connection(),
            "binance",
            transport,
            venue.rules,
            combined=combined,
            send_buffer_bytes=rules.send_buffer_bytes,
            monotonic=time.monotonic,
        )
        client = Client(connection, venue, now)
        venue.rules.count("binance_connections")
        control = Control(self, connection, rules.streams_per_connection, venue.rules)
        venue.connections.append(connection)
        self._clients[connection.number] = client
        try:
            control.subscribe([name for name in streams.split("/") if name])
            await self._listen(socket, client, control)
        finally:
            self._clients.pop(connection.number, None)
            venue.connections.remove(connection)
            for stream in list(connection.streams):
                self.unsubscribe(connection, stream)
            transport.close()
        return socket

    async def _listen(self, socket: Any, client: Client, control: Control) -> None:
        """Take what a client says until it is gone."""
        connection = client.connection
        while True:
            message = await socket.receive()
            if message.type in {WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR}:
                return
            if message.type is WSMsgType.CLOSE:
                if connection.half_open:
                    await _until_gone(connection)
                elif not connection.gone:
                    code = int(message.data or WSCloseCode.OK)
                    connection.transport.write(frame(code.to_bytes(2, "big"), CLOSE))
                return
            if not connection.half_open and not connection.gone:
                self._take(message, client, control)

    def _take(self, message: WSMessage, client: Client, control: Control) -> None:
        """Take one message of a client; all count alike."""
        connection = client.connection
        if not client.incoming.take(time.monotonic()):
            connection.break_off("messages_per_second", "Too many requests")
        elif message.type is WSMsgType.PING:
            connection.send(bytes(message.data), PONG)
        elif message.type is WSMsgType.PONG:
            client.answered(bytes(message.data))
        else:
            control.take(message.data)


async def _until_gone(connection: Connection) -> None:
    while not connection.transport.is_closing():  # noqa: ASYNC110 - the transport tells nobody
        await asyncio.sleep(0.05)
