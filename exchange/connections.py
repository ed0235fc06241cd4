"""A WebSocket connection of a client, as the venue sees it: what waits to be sent, and faults.

Messages are written in batches: one write of many frames, straight to the transport. Nothing
waits for a slow reader; what it does not read piles up until the limit, and then it is dropped,
as venues do.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog
from aiohttp import WSCloseCode

from exchange.message_faults import Message
from exchange.rules import Rules

__all__ = ["CLOSE", "PING", "PONG", "TEXT", "Connection", "MessageFilter", "frame"]

_log = structlog.get_logger(__name__)

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA

# What stands before a text message of up to 125 bytes, and of up to 65,535.
_SHORT = tuple(bytes((0x81, length)) for length in range(126))
_CLOSE_SECONDS = 2.0


class MessageFilter(Protocol):
    """What turns a connection's messages into those that it is sent."""

    def __call__(self, connection: "Connection", messages: list[Message]) -> list[Message]:
        """Make what is sent."""


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Frame a whole message (RFC 6455, 5.2), unmasked as servers do."""
    length = len(payload)
    if length < 126:
        return (_SHORT[length] if opcode == TEXT else bytes((0x80 | opcode, length))) + payload
    if length < 65_536:
        return b"%c\x7e%b%b" % (0x80 | opcode, length.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (0x80 | opcode, length.to_bytes(8, "big"), payload)


class Connection:
    """One client's connection. `streams` are those it gets; for Yahoo the symbols."""

    def __init__(
        self,
        number: int,
        venue: str,
        transport: asyncio.Transport,
        rules: Rules,
        *,
        combined: bool = False,
        send_buffer_bytes: int,
        monotonic: Callable[[], float],
    ) -> None:
        """Write to an open WebSocket's transport; the caller reads from it and ends it."""
        self.number = number
        self.venue = venue
        self.transport = transport
        self.rules = rules
        self.combined = combined  # whether messages are wrapped with their stream's name
        self.streams: set[str] = set()
        self.out: list[Message] = []  # due now, written at the next flush
        self.half_open = False
        self.closing = False
        self.opened = monotonic()
        self._monotonic = monotonic
        self._limit = send_buffer_bytes
        self._rate: float | None = None  # bytes/s while slow
        self._trickled = 0.0  # until when the rate was used
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0

    @property
    def gone(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.closing or self.transport.is_closing()

    def waiting_bytes(self) -> int:
        """Tell how much waits to be read by the client, without what the kernel holds."""
        return self._backlog_bytes + self.transport.get_write_buffer_size()

    def send(self, payload: bytes, opcode: int = TEXT) -> None:
        """Send at once, before what waits; nothing where the connection is half open."""
        if not self.half_open and not self.gone:
            self.transport.write(frame(payload, opcode))

    def deliver(self, stream: str, payload: bytes, place: int = 0, order: int = 0) -> None:
        """Give a message of `stream` to the next flush."""
        self.out.append((place, order, stream, payload))

    def flush(self, faulty: MessageFilter | None = None) -> None:
        """Write what was delivered, in order of the schedule, and what trickles."""
        messages, self.out = self.out, []
        if self.half_open or self.gone:
            return
        if len(messages) > 1:
            messages.sort()
        if faulty is not None:
            messages = faulty(self, messages)
        if messages:
            self.rules.counts[f"{self.venue}_messages"] += len(messages)
            if self._rate is None and not self._backlog:
                self.transport.write(b"".join([frame(message[3]) for message in messages]))
            else:
                for message in messages:
                    self._backlog.append(frame(message[3]))
                    self._backlog_bytes += len(self._backlog[-1])
        if self._backlog:
            self._trickle()
        if self.waiting_bytes() > self._limit:
            self.rules.count("slow_reader_dropped")
            _log.warning("slow_reader_dropped", connection=self.number, limit_bytes=self._limit)
            self.abort()

    def slow(self, bytes_per_second: float | None) -> None:
        """Let messages trickle at a rate; None: send all that waits, and as ever from now on."""
        self._rate = bytes_per_second
        self._trickled = self._monotonic()

    def _trickle(self) -> None:
        now = self._monotonic()
        while self._backlog and (self._rate is None or self._trickled <= now):
            sent = self._backlog.popleft()
            self._backlog_bytes -= len(sent)
            self.transport.write(sent)
            if self._rate is not None:
                self._trickled += len(sent) / self._rate

    def truncate(self) -> None:
        """Begin a frame, break off within it and end the connection."""
        if self.gone or self.half_open:
            return
        whole = frame(b'{"stream":"' + b"x" * 200)
        self.transport.write(whole[: len(whole) // 2])
        self.closing = True
        self.transport.close()  # unlike abort this sends what was written

    def abort(self) -> None:
        """End the TCP connection at once."""
        self.closing = True
        self.transport.abort()

    def break_off(self, rule: str, reason: str) -> None:
        """Count a broken rule and close with 1008, as venues do."""
        self.rules.breach(rule, f"{self.venue} connection {self.number}")
        self.rules.count("closed_1008")
        self.close(WSCloseCode.POLICY_VIOLATION, reason)

    def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        """Send a close frame and end; nothing else is sent after it."""
        if self.gone or self.half_open:
            return
        self.transport.write(frame(code.to_bytes(2, "big") + reason.encode()[:123], CLOSE))
        self.closing = True
        # The client answers with a close of its own; one that does not is not waited for.
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self.transport.abort)
