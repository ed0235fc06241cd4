"""One WebSocket to Binance, which is always read and breaks no limit on what it sends."""

import asyncio
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any, cast

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Event

from connectors.feeds import FeedHealth
from connectors.resilience import RateWindow
from connectors.sources.binance_plan import BinanceSettings

log = structlog.get_logger(__name__)

MAX_MESSAGE = 1 << 20  # a real one has less than 1 KB
_CUT_OFF = 8 << 20  # a longer one ends the connection instead of filling the memory
_PONG = 0x8A  # first byte of a pong's frame
# A network may press together on the way what was sent apart; the venue counts arrivals.
_PRESSED_SECONDS = 0.2
_PONG_AGAIN_SECONDS = 0.05


class Line(ClientConnection):
    """A connection that hands each message on as it is read from the socket.

    There is no queue between: reading never pauses, whatever the flow does. The library's
    answers to pings pass through the window of messages that we may send: where it is full, the
    latest ping is answered as soon as the window allows (an older one then needs no answer,
    RFC 6455, 5.5.3).
    """

    def __init__(
        self,
        protocol: Any,
        *,
        deliver: Callable[["Line", bytes], None],
        health: FeedHealth,
        window: RateWindow,
        clock: Callable[[], int],
        **options: Any,
    ) -> None:
        """Take whom to `deliver` to, and the window of outgoing messages."""
        super().__init__(protocol, **options)
        self.health = health
        self.host = ""
        self.opened = self.heard = self.data_heard = monotonic()
        self.last_ns = clock()  # the last message's receipt, or the opening
        self.first_data: float | None = None
        self.messages = 0  # of market data
        self.lag = 0.0  # seconds of venue time behind receipt, smoothed
        self.lagged = False  # `lag` was measured
        self.shutting_down = False  # the venue said so
        self.asked_at: float | None = None  # our last ping, unanswered
        self.close_code_heard: int | None = None
        self.stirred = asyncio.Event()  # it was lost, or is to be replaced at once
        self._deliver = deliver
        self._window = window
        self._pong = b""  # the latest, held back by the window
        self._pong_timer: asyncio.TimerHandle | None = None
        self._parts: list[bytes] | None = None  # of a fragmented message of text
        self._parts_size = 0

    @property
    def alive(self) -> bool:
        """Whether it is open still."""
        return self.protocol.state is OPEN

    def process_event(self, event: Event) -> None:
        """Take one frame, as soon as it is read."""
        if self.response is None:
            # Open from the venue's answer on: messages may come with it, in one piece.
            self.opened = self.heard = self.data_heard = monotonic()
            super().process_event(event)
            return
        if not isinstance(event, Frame):
            return
        self.heard = monotonic()
        opcode = event.opcode
        if opcode is Opcode.TEXT:
            if event.fin:
                self._message(bytes(event.data))
            else:
                self._parts, self._parts_size = [bytes(event.data)], len(event.data)
        elif opcode is Opcode.CONT:
            self._continued(event)
        elif opcode is Opcode.BINARY:
            self.health.counts["rejected"] += event.fin
        elif opcode is Opcode.PING:
            self.health.counts["server_pings"] += 1
        elif opcode is Opcode.CLOSE:
            if len(event.data) >= 2:
                self.close_code_heard = int.from_bytes(event.data[:2])
            self.stirred.set()

    def ask(self) -> bool:
        """Send a ping of ours, if there is room for it beside the answers to the venue's."""
        if not self.alive or self._window.used + 1 >= self._window.limit:
            return False
        if not self._window.allows():
            return False
        self.protocol.send_ping(b"")
        self.send_data()
        return True

    def send_data(self) -> None:
        """Write what the protocol wants to send, pongs only as the window allows."""
        for data in self.protocol.data_to_send():
            if not data:
                self.transport.close()  # after what was written
            elif data[0] == _PONG:
                self._pong = data
                self._answer()
                self.health.counts["throttled"] += bool(self._pong)
            else:
                self.transport.write(data)

    def leave(self) -> None:
        """Say goodbye and close, without waiting for an answer."""
        if self.alive:
            self.protocol.send_close(1000)
            self.send_data()
        self.transport.close()

    def drop(self) -> None:
        """End the connection without a word: the other side does not answer any more."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was to be sent."""
        if self._pong_timer is not None:
            self._pong_timer.cancel()
        self.stirred.set()
        super().connection_lost(exc)

    def _answer(self) -> None:
        if self._pong_timer is not None:
            self._pong_timer.cancel()
            self._pong_timer = None
        if not self._pong or not self.alive:
            return
        if self._window.allows():
            self.transport.write(self._pong)
            self._pong = b""
        else:
            self._pong_timer = self.loop.call_later(_PONG_AGAIN_SECONDS, self._answer)

    def _continued(self, frame: Frame) -> None:
        if self._parts is None:
            self.health.counts["rejected"] += frame.fin
            return
        self._parts.append(bytes(frame.data))
        self._parts_size += len(frame.data)
        if frame.fin:
            message, self._parts = b"".join(self._parts), None
            self._message(message)

    def _message(self, payload: bytes) -> None:
        if len(payload) > MAX_MESSAGE:
            self.health.counts["rejected"] += 1
            return
        self._deliver(self, payload)


async def open_line(
    host: str,
    path: str,
    settings: BinanceSettings,
    tls: ssl.SSLContext | None,
    deliver: Callable[[Line, bytes], None],
    health: FeedHealth,
    clock: Callable[[], int],
) -> Line:
    """Connect once.

    Raises:
        OSError: no connection, or (`ssl.SSLError`) a certificate that is not accepted.
        TimeoutError: no answer in time.
        websockets.exceptions.InvalidHandshake: another answer than a WebSocket's.
    """
    window = RateWindow(
        settings.messages_per_second - 1, 1.0, spare_seconds=_PRESSED_SECONDS, health=None
    )

    def make(protocol: Any, **options: Any) -> Line:
        return Line(protocol, deliver=deliver, health=health, window=window, clock=clock, **options)

    extra: dict[str, Any] = {}
    if tls is not None and host.startswith("wss:"):  # without, the library verifies by itself
        extra = {"ssl": tls}
    line = await connect(
        host + path,
        create_connection=cast("type[ClientConnection]", make),
        open_timeout=settings.open_timeout_seconds,
        close_timeout=settings.close_timeout_seconds,
        # Its pings would count as messages, come at its own times, and end a connection whose
        # pong stands behind a backlog of data. We watch silence ourselves.
        ping_interval=None,
        compression=None,  # unpacking costs more than the bytes, on one core
        max_size=_CUT_OFF,
        max_queue=None,  # nothing is queued
        proxy=None,  # the environment is read in one place, and not here
        **extra,
    )
    found = cast("Line", line)
    found.host = host
    return found
