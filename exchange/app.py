"""The fake venue as one application on one port, and as a server to run it.

A venue's module gives `routes(venue) -> list[web.RouteDef]`; those that exist are served.
"""

import asyncio
import importlib
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import msgspec
import structlog
from aiohttp import web

from exchange.clock import MILLISECOND, ClockMode, VenueClock
from exchange.connections import Connection
from exchange.fault_board import FaultBoard
from exchange.faults import Fault
from exchange.market import Market, copies
from exchange.recordings import Recording, read_recording
from exchange.rest_faults import rest_faults
from exchange.rules import BinanceRules, Rules
from exchange.tls import Certificates

__all__ = ["RECORDING", "VENUE", "Exchange", "ExchangeSettings", "Venue", "make_app"]

_log = structlog.get_logger(__name__)

RECORDING = (
    Path(__file__).resolve().parents[1]
    / "data/recordings/binance_spot_btcusdt_ethusdt_trade_bookTicker_20240808T2354_10min.ndjson.gz"
)

# In the order in which they are served; each is `exchange.<name>`.
MODULES = (
    "truth", "binance_rest", "binance_streams", "yahoo", "alpha_vantage", "rss", "reddit",
    "stocktwits", "coindesk", "fear_greed",
)  # fmt: skip

_FAULT_TICK_SECONDS = 0.005


class ExchangeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the fake venue serves."""

    # What is served: raw messages of Binance's combined stream. The shipped one.
    recording: Path = RECORDING
    first_seconds: float | None = None  # only the recording's first ones; None: all
    # How many symbols: shifted copies are added to the recorded ones. 0: the recorded ones.
    symbols: Annotated[int, msgspec.Meta(ge=0)] = 0
    # By how much each copy is later than the one before, so that copies do not move in step.
    copy_delay_ms: Annotated[int, msgspec.Meta(ge=0)] = 737
    # Recorded bytes are true as they stand only in the recording's own time.
    clock: ClockMode = ClockMode.RECORDED
    speed: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    # Trades/s, all symbols together, on average: sets the speed instead.
    rate: Annotated[float, msgspec.Meta(gt=0)] | None = None
    # Begin anew at the recording's end, ids going on. None: on the live clock only.
    loop: bool | None = None
    # Let the clock stand until POST /exchange/start.
    hold: bool = False
    binance: BinanceRules = BinanceRules()
    faults: tuple[Fault, ...] = ()
    # What is drawn at random (by venues that simulate) is drawn from this.
    seed: int = 0


@lru_cache(maxsize=2)
def _recording(path: Path, seconds: float | None) -> Recording:
    return read_recording(path, seconds)


class Listener:
    """The port at which the venue listens, which a fault can close for a while."""

    def __init__(self, runner: web.AppRunner, port: int, certificates: Certificates | None) -> None:
        """Listen nowhere yet; `port` 0 is any that is free."""
        self._runner = runner
        self.port = port
        self._certificates = certificates
        self._site: web.TCPSite | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        context = self._certificates.context if self._certificates else None
        self._site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=context, backlog=1024
        )
        await self._site.start()
        self.port = self._site.port

    def close(self) -> None:
        """Listen no more; connections that are open stay."""
        if self._site is not None:
            site, self._site = self._site, None
            self._task = asyncio.ensure_future(site.stop())

    def open(self) -> None:
        """Listen again at the same port."""
        if self._site is None:
            self._task = asyncio.ensure_future(self.start())
            self._task.add_done_callback(_told)


class Venue:
    """What all routes share: the clock, the market, the faults and what was counted.

    Raises:
        RecordingError: the recording cannot be served.
        MarketError: there are no names for so many symbols.
    """

    def __init__(self, settings: ExchangeSettings | None = None) -> None:
        """Make a venue whose clock stands."""
        self.settings = settings or ExchangeSettings()
        self.rules = Rules()
        recording = _recording(self.settings.recording, self.settings.first_seconds)
        self.recording = recording
        mode = ClockMode(self.settings.clock)
        number = self.settings.symbols or len(recording.tracks)
        speed = self.settings.speed
        if self.settings.rate is not None:
            each = recording.trades_per_second() / len(recording.tracks)
            speed = self.settings.rate / (each * number)
        self.clock = VenueClock(recording.start, speed, mode)
        self.market = Market(
            copies(
                recording,
                self.clock,
                count=number,
                delay=self.settings.copy_delay_ms * MILLISECOND,
                looped=mode is ClockMode.LIVE if self.settings.loop is None else self.settings.loop,
            ),
            self.clock,
        )
        self.connections: list[Connection] = []  # WebSockets, oldest first
        self.faults = FaultBoard(self, self.settings.faults)
        self.certificates: Certificates | None = None
        self.listener: Listener | None = None
        # Run from the start of the application to its end; a module may add its own.
        self.background: list[Callable[[], Awaitable[None]]] = [self._run_faults]
        self._numbers = count(1)

    def next_connection(self) -> int:
        """Give a new connection its number."""
        return next(self._numbers)

    async def _run_faults(self) -> None:
        while True:
            self.faults.tick()
            await asyncio.sleep(_FAULT_TICK_SECONDS)


VENUE = web.AppKey("venue", Venue)


def make_app(venue: Venue) -> web.Application:
    """Assemble the routes of all venues' modules that exist."""
    app = web.Application(middlewares=[rest_faults(venue)])
    app[VENUE] = venue
    for name in MODULES:
        if importlib.util.find_spec(f"exchange.{name}") is not None:
            app.router.add_routes(importlib.import_module(f"exchange.{name}").routes(venue))

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        if not venue.settings.hold:
            venue.clock.run()
        tasks = [asyncio.ensure_future(run()) for run in venue.background]
        for task in tasks:
            task.add_done_callback(_told)
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def end_connections(_: web.Application) -> None:
        for connection in [*venue.connections]:
            connection.abort()

    app.cleanup_ctx.append(lifetime)
    app.on_shutdown.append(end_connections)
    return app


def _told(task: "asyncio.Future[None]") -> None:
    """Say at once when what runs in the background has failed: nothing is served then."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("background_failed", exc_info=error)


class Exchange:
    """Serve a venue on 127.0.0.1: `async with Exchange(venue) as exchange: exchange.url`."""

    def __init__(
        self, venue: Venue | None = None, port: int = 0, *, tls_folder: Path | None = None
    ) -> None:
        """Prepare to serve `venue` at `port`; 0 is any that is free.

        With `tls_folder` it speaks TLS; the CA to trust is written there as ca.pem.
        """
        self.venue = venue or Venue()
        self.port = port
        self._tls_folder = tls_folder
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        scheme = "http" if self._tls_folder is None else "https"
        return f"{scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        """Start to listen.

        Raises:
            OSError: the port is taken.
        """
        if self._tls_folder is not None:
            self.venue.certificates = Certificates(self._tls_folder)
        self._runner = web.AppRunner(make_app(self.venue), access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        listener = Listener(self._runner, self.port, self.venue.certificates)
        try:
            await listener.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.venue.listener = listener
        self.port = listener.port
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End all connections and stop."""
        if self._runner is not None:
            await self._runner.cleanup()
