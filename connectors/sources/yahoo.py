"""Yahoo Finance's stream as a live feed.

Frames go into the log as they came (kind "yahoo"), equal ones of a symbol once. Yahoo numbers
nothing and keeps nothing: what is missed while a connection is cut or silent stays missed, and
the log says so. A tick's volume is the difference of two day volumes, so the volume of such a
time comes with the first tick behind it.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from statistics import median
from time import monotonic

import structlog

from connectors.feeds import FeedHealth, Inbox
from connectors.sources.unfillable import UnfillableHoles
from connectors.sources.yahoo_connection import Connection
from connectors.sources.yahoo_line import Line
from connectors.sources.yahoo_settings import YahooMarket, YahooSettings
from models.calendars import sessions
from operators.checks import MILLISECOND, MalformedError
from operators.messages import SECOND, Raw
from operators.yahoo_pricing import HEARTBEAT, PRICING, Pricing, decode_pricing, read_frame

__all__ = ["YahooFeed", "YahooMarket", "YahooSettings"]

log = structlog.get_logger(__name__)

_MINUTE = 60 * SECOND
_LAGS = 15  # their median is the lag: one odd time of a frame must not switch feeds


class _Symbol:
    """What is known of one symbol."""

    def __init__(self, ours: str, market: YahooMarket | None) -> None:
        self.ours = ours
        self.market = market
        self.frames: dict[bytes, None] = {}  # the last ones, oldest first
        self.time_ms = 0  # of the last trade told
        self.heard: float | None = None
        self.heard_ns = 0
        self.watched_from = 0.0  # its silence counts from here
        self.stale = False

    def is_new(self, message: bytes, limit: int) -> bool:
        """Say whether this frame has not come before, and remember it."""
        if message in self.frames:
            return False
        self.frames[message] = None
        if len(self.frames) > limit:
            del self.frames[next(iter(self.frames))]
        return True

    def trades_at(self, now_ns: int) -> bool:
        """Say whether its market is open; one of unknown hours never is."""
        if self.market is None:
            return False
        until = (now_ns // _MINUTE + 1) * _MINUTE
        return sessions(self.market.calendar).session_of(until, _MINUTE) is not None


class YahooFeed:
    """Yahoo's stream for `symbols`: Yahoo's names by ours."""

    def __init__(
        self,
        settings: YahooSettings,
        symbols: Mapping[str, str],
        tls: ssl.SSLContext | None = None,
        name: str = "yahoo",
    ) -> None:
        """Take what to deliver; `tls` verifies certificates (by default the system's way).

        Raises:
            ValueError: two of our symbols have one name at Yahoo.
            CalendarError: a market's calendar is not known.
        """
        self.name = name
        self.settings = settings
        self.symbols = tuple(symbols)
        self.health = FeedHealth(name)
        self._tls = tls
        self._symbols = {
            theirs: _Symbol(ours, settings.market_of(theirs)) for ours, theirs in symbols.items()
        }
        if len(self._symbols) < len(symbols):
            raise ValueError("expected a Yahoo name for each symbol, found one named twice")
        for known in self._symbols.values():
            if known.market is not None:
                sessions(known.market.calendar)
        self._holes = UnfillableHoles(name, self.health, "Yahoo has no history to ask")
        self._lines: list[Line] = []
        self._lags: deque[float] = deque(maxlen=_LAGS)
        self._heard: float | None = None
        self._down_from: int | None = None
        self._inbox: Inbox | None = None

    def remember(self, raw: Raw) -> None:
        """Learn until when we ran, and which holes were open."""
        if raw.path == self.name:
            self._down_from = max(raw.ts_init, self._down_from or 0)
            self._holes.remember(raw)

    async def run(self, inbox: Inbox) -> None:
        """Deliver until cancelled."""
        self._inbox = inbox
        # The calendars take their time to load, which no socket must wait for.
        await asyncio.to_thread(self._load_calendars, inbox.clock())
        if self._down_from is not None:
            for symbol in self.symbols:
                self._holes.begin(inbox, symbol, "down", self._down_from)
        names = tuple(self._symbols)
        size = self.settings.symbols_per_connection
        self._lines = [
            Line(
                self.settings,
                names[start : start + size],
                self.health,
                self._tls,
                inbox.clock,
                self,
            )
            for start in range(0, len(names), size)
        ]
        if not self._lines:
            self._say()
            await asyncio.Event().wait()  # a feed does not end
        async with asyncio.TaskGroup() as group:
            for line in self._lines:
                group.create_task(line.run())

    # ------------------------------------------------------------- told by the lines

    def deliver(self, line: Line, connection: Connection, payload: bytes) -> None:
        """Put a frame into the inbox, unless an equal one came before."""
        inbox = self._open_inbox()
        at = inbox.clock()
        counts = self.health.counts
        counts["messages"] += 1
        counts["bytes"] += len(payload)
        try:
            frame = read_frame(payload)
            pricing = decode_pricing(frame.message) if frame.kind == PRICING else None
        except MalformedError:
            counts["rejected"] += 1  # the log holds it, and normalise says what is wrong
            pricing = None
        if pricing is None or pricing.quote_type == HEARTBEAT:
            self._put(inbox, payload, at)
            return
        known = self._symbols.get(pricing.id)
        if known is None:  # never asked for: the universe refuses it, and that is counted
            self._put(inbox, payload, at)
            return
        self._hear(line, connection, known, at)
        is_new = known.is_new(frame.message, self.settings.remembered_frames)
        connection.brought_news |= is_new
        if not is_new:
            counts["duplicates"] += 1
        elif self._put(inbox, payload, at, known.ours):
            self._measure(known, pricing, at)
        else:
            self._holes.begin(inbox, known.ours, "shed", known.heard_ns or at)
            return
        known.heard_ns = at
        self._holes.end(inbox, known.ours, at)

    def lost(self, line: Line, cause: str, ts_from: int) -> None:
        """Open a hole for each symbol of a line."""
        for name in line.names:
            self._holes.begin(self._open_inbox(), self._symbols[name].ours, cause, ts_from)

    def patience(self, line: Line) -> float | None:
        """Return the least patience of the line's symbols whose market is open."""
        now = self._open_inbox().clock()
        waits = [
            known.market.stale_seconds
            for known in map(self._symbols.__getitem__, line.names)
            if known.market is not None and known.trades_at(now)
        ]
        return min(waits, default=None)

    def check(self, line: Line) -> None:
        """Look for symbols that fell silent, holes that are over, and say how the feed does."""
        current = line.current
        if current is not None and current.alive and current.subscribed is not None:
            self._find_stale(line, current, current.subscribed)
            self._settle(line, current, current.subscribed)
        self._say()

    # -------------------------------------------------------------------------- inside

    def _open_inbox(self) -> Inbox:
        if self._inbox is None:
            raise RuntimeError("expected a feed that runs")
        return self._inbox

    def _load_calendars(self, now: int) -> None:
        for known in self._symbols.values():
            known.trades_at(now)

    def _put(self, inbox: Inbox, payload: bytes, at: int, symbol: str | None = None) -> bool:
        taken = inbox.put(self.name, "yahoo", payload, symbol=symbol, ts_init=at)
        if not taken:
            self.health.counts["shed"] += 1
        return taken

    def _hear(self, line: Line, connection: Connection, known: _Symbol, at: int) -> None:
        self._heard = known.heard = monotonic()
        known.stale = False
        connection.hear(at)
        line.hear()
        if self.health.state != "up":
            self._say()

    def _measure(self, known: _Symbol, pricing: Pricing, at: int) -> None:
        """Take the lag of a frame that tells a new trade.

        A subscription is answered with the last trade, however old: the first frame of a symbol
        and one without a newer time say nothing about the lag.
        """
        if known.time_ms and pricing.time > known.time_ms:
            self._lags.append((at - pricing.time * MILLISECOND) / SECOND)
            self.health.gauges["lag_seconds"] = median(self._lags)
        known.time_ms = pricing.time

    def _find_stale(self, line: Line, current: Connection, subscribed: float) -> None:
        """Open a hole where one symbol is silent though others on its connection are not."""
        inbox = self._open_inbox()
        now, now_ns = monotonic(), inbox.clock()
        for name in line.names:
            known = self._symbols[name]
            if known.market is None or not known.trades_at(now_ns):
                known.watched_from = now
                continue
            since = max(known.watched_from, subscribed, known.heard or 0.0)
            patience = known.market.stale_seconds
            others = current.heard is not None and now - current.heard <= patience
            if known.stale or not others or now - since <= patience:
                continue
            known.stale = True
            self.health.counts["stale"] += 1
            log.warning("yahoo_symbol_silent", symbol=known.ours, seconds=round(now - since, 1))
            last = max(known.heard_ns, current.subscribed_ns or 0)
            self._holes.begin(inbox, known.ours, "silent", last)
            current.subscribe_again()

    def _settle(self, line: Line, current: Connection, subscribed: float) -> None:
        """End the holes of symbols that do not trade, once their connection delivers others."""
        if current.first_heard_ns is None:
            return
        if monotonic() - subscribed < self.settings.settle_seconds:
            return
        for name in line.names:
            known = self._symbols[name]
            hole = self._holes.open.get(known.ours)
            if hole is not None and not known.stale and hole.cause != "shed":
                self._holes.end(self._open_inbox(), known.ours, current.first_heard_ns)

    def _say(self) -> None:
        health = self.health
        states = [line.state for line in self._lines]
        cut = states.count("cut")
        health.gauges["connections_open"] = sum(
            connection.alive
            for line in self._lines
            for connection in (line.current, line.newer)
            if connection is not None
        )
        if self._heard is not None:
            health.gauges["silent_seconds"] = monotonic() - self._heard
        if health.state == "starting" and cut and not self._holes.open:
            return  # it has not been connected yet
        lag = health.gauges.get("lag_seconds", 0.0)
        if "up" in states:
            health.state = "up"
        elif "quiet" in states:
            health.state = "quiet"
        else:
            health.state = "cut" if states else "stopped"
        if not states:
            health.note = "No symbols were given to the Yahoo feed."
        elif cut:
            causes = sorted({line.ended for line in self._lines if line.ended})
            why = f" ({', '.join(causes)})" if causes else ""
            health.note = f"{cut} of {len(states)} Yahoo connections bring nothing{why}."
        elif health.state == "quiet":
            health.note = "Connected to Yahoo; its markets are closed or nothing has come yet."
        elif lag > self.settings.lag_note_seconds:
            health.note = f"Yahoo's prices come {lag:.0f} s after the trade."
        else:
            health.note = ""
