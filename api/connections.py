"""Connections: so many of an address, and none that only waits."""

import asyncio
from collections import Counter
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class Bounded(H11Protocol):
    """HTTP/1.1 with a bound on connections and on patience.

    A client has `patience_seconds` for the head of a request, the first and each later one. A
    WebSocket counts no more here: its place is counted where it listens.
    """

    held: ClassVar[Counter[str]]  # connections by address
    per_address: ClassVar[int]
    patience_seconds: ClassVar[float]

    def __init__(self, *args: Any, **fields: Any) -> None:
        """Prepare a connection."""
        super().__init__(*args, **fields)
        self.address: str | None = None  # counted under it
        self.deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it, or close it if its address has enough."""
        super().connection_made(transport)
        address = self.client[0] if self.client else "unknown"
        if self.held[address] >= self.per_address:
            transport.abort()
            return
        self.held[address] += 1
        self.address = address
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place back."""
        self._release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; wait on where no request is being answered."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_no_more()
        elif self.deadline is None and self.address is not None:
            self._expect()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection on, and count it no more."""
        self._release()
        super().handle_websocket_upgrade(event)

    def _expect(self) -> None:
        self.deadline = self.loop.call_later(self.patience_seconds, self.transport.abort)

    def _expect_no_more(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def _release(self) -> None:
        self._expect_no_more()
        if self.address is not None:
            self.held[self.address] -= 1
            if not self.held[self.address]:
                del self.held[self.address]
            self.address = None


def protocol_of(per_address: int, patience: float) -> type[Bounded]:
    """Return the protocol of one server: `per_address` connections, `patience` in seconds."""
    own = {"held": Counter(), "per_address": per_address, "patience_seconds": patience}
    return type("BoundedProtocol", (Bounded,), own)
