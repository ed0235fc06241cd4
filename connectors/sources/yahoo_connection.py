"""One WebSocket to Yahoo: it subscribes, subscribes again, and is read without a pause."""

import asyncio
import ssl
from collections.abc import Callable
from time import monotonic
from typing import Any

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from connectors.sources.yahoo_settings import YahooSettings

log = structlog.get_logger(__name__)


class Connection:
    """A connection in a task of its own, which ends with it. Nothing is tried twice here."""

    def __init__(
        self,
        settings: YahooSettings,
        names: tuple[str, ...],
        tls: ssl.SSLContext | None,
        clock: Callable[[], int],
        deliver: Callable[["Connection", bytes], None],
        subscribed: Callable[["Connection"], None],
    ) -> None:
        """Connect; `deliver` gets every frame, and `subscribed` is told once."""
        self.settings = settings
        self.clock = clock
        self.started = monotonic()
        self.subscribed: float | None = None
        self.subscribed_ns: int | None = None
        self.heard: float | None = None  # the last price
        self.heard_ns: int | None = None
        self.first_heard_ns: int | None = None
        self.brought_news = False  # not only what another connection had told
        self.ended = "closed"  # why
        self._message = msgspec.json.encode({"subscribe": names}).decode()
        self._tls = tls
        self._deliver = deliver
        self._subscribed = subscribed
        self._wanted = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    @property
    def alive(self) -> bool:
        """Whether it delivers, or would."""
        return self.subscribed is not None and not self.task.done()

    @property
    def last_ns(self) -> int | None:
        """Until when everything that was sent has come, as far as known (ns)."""
        return self.subscribed_ns if self.heard_ns is None else self.heard_ns

    def hear(self, at_ns: int) -> None:
        """Take note that a price came."""
        self.heard = monotonic()
        self.heard_ns = at_ns
        if self.first_heard_ns is None:
            self.first_heard_ns = at_ns

    def subscribe_again(self) -> None:
        """Subscribe now, not at the next turn."""
        self._wanted.set()

    async def _run(self) -> None:
        try:
            await self._read()
        except (OSError, TimeoutError, EOFError, WebSocketException) as error:
            self.ended = type(error).__name__
        except Exception as error:  # nothing that a venue does may end the feed
            self.ended = type(error).__name__
            log.exception("yahoo_connection_failed")

    async def _read(self) -> None:
        settings = self.settings
        # Given only for wss: the library refuses it for ws, and verifies by itself without.
        tls: dict[str, Any] = {}
        if self._tls is not None and settings.url.startswith("wss:"):
            tls = {"ssl": self._tls}
        async with connect(
            settings.url,
            open_timeout=settings.open_timeout_seconds,
            close_timeout=settings.close_timeout_seconds,
            ping_interval=settings.ping_seconds,
            ping_timeout=settings.ping_timeout_seconds,
            max_size=settings.max_frame_bytes,
            proxy=None,  # the environment is read in one place, and not here
            **tls,
        ) as socket:
            await socket.send(self._message)
            self.subscribed, self.subscribed_ns = monotonic(), self.clock()
            self._subscribed(self)
            renewing = asyncio.create_task(self._renew(socket))
            try:
                while True:
                    # As bytes: a frame that is not UTF-8 is for the log to hold, not an end.
                    self._deliver(self, await socket.recv(decode=False))
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, socket: ClientConnection) -> None:
        while True:
            try:
                async with asyncio.timeout(self.settings.resubscribe_seconds):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            try:
                await socket.send(self._message)
            except (ConnectionClosed, OSError):
                return  # the reader sees it too
