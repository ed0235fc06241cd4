"""Faults of connections: what is done to those that a fault struck."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import WSCloseCode

from exchange.connections import Connection
from exchange.faults import Fault, Kind

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["announce_shutdown", "strike"]

_OF_CONNECTIONS = (
    Kind.CUT, Kind.HALF_OPEN, Kind.SLOW, Kind.TRUNCATED_FRAME, Kind.POLICY_CLOSE,
    Kind.SERVER_SHUTDOWN,
)  # fmt: skip


def _begin(fault: Fault, connection: Connection, venue: "Venue") -> None:
    match fault.kind:
        case Kind.CUT:
            connection.abort()
        case Kind.HALF_OPEN:
            connection.half_open = True
        case Kind.SLOW:
            connection.slow(fault.bytes_per_second)
        case Kind.TRUNCATED_FRAME:
            connection.truncate()
        case Kind.POLICY_CLOSE:
            venue.rules.count("policy_close_injected")
            connection.close(WSCloseCode.POLICY_VIOLATION, "policy violation")
        case _:
            announce_shutdown(connection, venue.clock.now_ms(), fault.notice_seconds)


def _end(fault: Fault, connection: Connection) -> None:
    if fault.kind is Kind.HALF_OPEN:
        # What a dead peer's network does in the end: the connection is gone, not whole again.
        connection.abort()
    elif fault.kind is Kind.SLOW:
        connection.slow(None)


def announce_shutdown(connection: Connection, now_ms: int, notice_seconds: float) -> None:
    """Tell a client that its connection ends, and end it `notice_seconds` later.

    Binance's words, in the form of the connection: bare or combined.
    """
    bare = b'{"e":"serverShutdown","E":%d}' % now_ms
    combined = b'{"stream":"!serverShutdown","data":%b}' % bare
    connection.send(combined if connection.combined else bare)

    def close() -> None:
        connection.close(WSCloseCode.GOING_AWAY, "server shutdown")

    if notice_seconds:
        asyncio.get_running_loop().call_later(notice_seconds, close)
    else:
        close()


def strike(
    fault: Fault, connections: Sequence[Connection], venue: "Venue", *, over: bool = False
) -> bool:
    """Begin, or end, a fault on `connections`; False where it is no fault of connections."""
    if fault.kind not in _OF_CONNECTIONS:
        return False
    for connection in connections:
        if over:
            _end(fault, connection)
        else:
            _begin(fault, connection, venue)
    return True
