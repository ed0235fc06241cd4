"""What bars are made from: what has come of an interval, and what is remembered of closed ones."""

from array import array
from dataclasses import dataclass, field
from math import fsum

import msgspec

from models.calendars import Session
from operators.messages import SECOND, Bar, BarQuality, DeliveredBar, Hole, Quote, Tick
from operators.switches import Switches

_NEVER = (-1, -1, -1)
_ALWAYS = (1 << 63, 0, 0)


class BarSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bar is."""

    interval_ns: int = SECOND
    calendar: str = "24/7"
    # A quote stands until the next one, but after this many bars nobody stands behind it.
    quote_bars: int = 60
    # The feeds whose cut makes a gap; none named: any feed of the Clock. Once a switch told
    # which feed the symbol uses, only that one's counts: another may be cut without harm.
    feeds: tuple[str, ...] = ()
    # A hole may be told behind the trades that came after it: so many bars wait in any case.
    least_bars: int = 3
    # Silence is noticed after the fact, so the bars since the last trade can still change; two
    # minutes are longer than any feed of ours takes to notice.
    recent_bars: int = 120
    # How many bars wait at most for what is missing in them: an hour of seconds.
    repair_bars: int = 3600
    # Holes are told in times of receipt, and venue times are behind these by as much as quality
    # allows.
    repair_margin_ns: int = 5 * SECOND


@dataclass(slots=True)
class OpenBar:
    """What has come of a bar: trades and quotes in any order, or the bar as such."""

    first: tuple[int, int, int] = _ALWAYS
    open: float = 0.0
    last: tuple[int, int, int] = _NEVER
    close: float = 0.0
    high: float = 0.0
    low: float = float("inf")
    # Arrays, so that a snapshot holds eight bytes for each.
    sizes: array[float] = field(default_factory=lambda: array("d"))
    turnovers: array[float] = field(default_factory=lambda: array("d"))
    quotes: int = 0
    quoted: tuple[int, int, int] = _NEVER
    spread: float = 0.0
    imbalance: float = 0.0
    delivered: DeliveredBar | None = None
    backfilled: bool = False  # a trade in it was asked for later

    def add_tick(self, tick: Tick) -> None:
        """Add a trade, wherever in the bar it belongs."""
        price = tick.price
        place = (tick.ts_event, -1 if tick.trade_id is None else tick.trade_id, tick.offset)
        if place > self.last:
            self.last = place
            self.close = price
        if place < self.first:
            self.first = place
            self.open = price
        # Not max() and min(): this is the hottest path, and they cost twice as much.
        if price > self.high:  # noqa: PLR1730
            self.high = price
        if price < self.low:  # noqa: PLR1730
            self.low = price
        self.sizes.append(tick.size)
        self.turnovers.append(price * tick.size)
        if tick.backfilled:
            self.backfilled = True

    def add_quote(self, quote: Quote) -> None:
        """Add a quote; the bar keeps the last."""
        self.quotes += 1
        place = (quote.ts_event, -1 if quote.update_id is None else quote.update_id, quote.offset)
        if place > self.quoted:
            self.quoted = place
            self.spread = quote.ask - quote.bid
            size = quote.bid_size + quote.ask_size
            self.imbalance = (quote.bid_size - quote.ask_size) / size if size > 0.0 else 0.0


@dataclass(slots=True)
class Kept:
    """A bar that a Clock closed, or leapt over, and that may still change."""

    carried: float | None  # the price before it
    trades: OpenBar | None = None  # None where nothing came
    quotes: int = 0
    spread: float | None = None  # of the quote that stood at its close
    imbalance: float | None = None
    cut: bool = False  # its Clock said that the feed was
    given: bool = False  # a feed delivered it as such: it is complete
    leapt: bool = False  # no Clock asked for it
    follows: bool = True  # the bar before it is the one kept before it
    bar: Bar | None = None  # as told last; None where there was none to tell

    @property
    def traded(self) -> bool:
        """Whether it has a price of its own."""
        return self.given or (self.trades is not None and len(self.trades.sizes) > 0)

    @property
    def price(self) -> float | None:
        """The last price by its close."""
        if self.given:
            return None if self.bar is None else self.bar.close
        if self.trades is None or not self.trades.sizes:
            return self.carried
        return self.trades.close

    @property
    def untold(self) -> int:
        """How many of its trades are in no bar that was told."""
        if self.given or self.trades is None:
            return 0
        return len(self.trades.sizes) - (0 if self.bar is None else self.bar.trades)

    def form(
        self, symbol: str, interval: int, ts_close: int, session: Session, quality: BarQuality
    ) -> Bar | None:
        """Return the bar as it is now known; None where there is no price yet."""
        came = self.trades
        if came is not None and came.sizes:
            first, high, low, close = came.open, came.high, came.low, came.close
            trades, volume = len(came.sizes), fsum(came.sizes)
            # Division may round past the range; features take the average to lie within it.
            # Venues that tell no sizes leave prices without volume.
            vwap = min(max(fsum(came.turnovers) / volume, low), high) if volume else close
        elif self.carried is not None:
            first = high = low = close = vwap = self.carried
            trades, volume = 0, 0.0
        else:
            return None
        return Bar(
            symbol=symbol,
            interval=interval,
            ts_close=ts_close,
            open=first,
            high=high,
            low=low,
            close=close,
            volume=volume,
            trades=trades,
            quotes=self.quotes,
            vwap=vwap,
            spread=self.spread,
            imbalance=self.imbalance,
            quality=quality,
            session_index=session.session_index,
            session_left=session.session_left,
            session_fraction=session.session_fraction,
        )


@dataclass(slots=True)
class BarState:
    """The open bars of one symbol, those that may still change, and what the next carries on."""

    symbol: str = ""
    closed: int = 0  # the last Clock
    price: float | None = None  # the last close
    open: dict[int, OpenBar] = field(default_factory=dict)  # by ts_close
    quoted: int = 0  # ts_close of the bar with the last quote
    spread: float | None = None
    imbalance: float | None = None
    # What went into no bar: quotes before the first price, and bars that a Clock leapt over.
    unused: dict[str, int] = field(default_factory=dict)
    delivered_bars: int = 0  # bars that a feed gave us as such, and the trades they sum up
    delivered_trades: int = 0
    kept: dict[int, Kept] = field(default_factory=dict)  # by ts_close, ascending
    holes: dict[tuple[str, int], Hole] = field(default_factory=dict)  # that touch what is kept
    switches: Switches = field(default_factory=Switches)
    leaps: list[tuple[int, int, float | None]] = field(default_factory=list)
    changed: int | None = None  # the first kept bar whose told form may be outdated
    due: bool = False  # the next Clock tells what changed
    reviewed: int = 0  # kept bars up to here wait for a hole
