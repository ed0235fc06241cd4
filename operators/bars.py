"""Ticks and quotes become bars, closed by Clock and by nothing else.

Every Clock in session gives every symbol exactly one `Bar` (or `NoBar` before its first
price), also where nothing was traded. Within a bar order is (ts_event, trade_id, offset), so
that messages may arrive in any order until the Clock; sums are exactly rounded for the same
reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import fsum
from typing import Any

import msgspec

from models.calendars import Calendar, Session, sessions
from operators.messages import (
    SECOND,
    Bar,
    BarQuality,
    Clock,
    DeliveredBar,
    NoBar,
    Quote,
    Reason,
    Rejection,
    Tally,
    Tick,
)

_NEVER = (-1, -1, -1)
_ALWAYS = (1 << 63, 0, 0)


class BarSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bar is."""

    interval_ns: int = SECOND
    calendar: str = "24/7"
    # A quote stands until the next one, but after this many bars nobody stands behind it.
    quote_bars: int = 60
    # The feeds whose cut makes a gap; none named: any feed of the Clock.
    feeds: tuple[str, ...] = ()


@dataclass(slots=True)
class OpenBar:
    """What has come of a bar that no Clock has closed yet."""

    first: tuple[int, int, int] = _ALWAYS
    open: float = 0.0
    last: tuple[int, int, int] = _NEVER
    close: float = 0.0
    high: float = 0.0
    low: float = float("inf")
    sizes: list[float] = field(default_factory=list)
    turnovers: list[float] = field(default_factory=list)
    quotes: int = 0
    quoted: tuple[int, int, int] = _NEVER
    spread: float = 0.0
    imbalance: float = 0.0
    delivered: DeliveredBar | None = None

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
class BarState:
    """The open bars of one symbol, and what the next quiet one carries on."""

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


class Bars:
    """Aggregate one symbol into bars of the interval; other messages pass through.

    Clocks end here: from the bar on, time is `ts_close`.

    >>> bars = Bars(BarSettings())
    >>> def tick(price, ts):
    ...     return Tick(symbol="BTCUSDT", venue="binance", price=price, size=2.0, ts_event=ts,
    ...                 ts_init=ts, offset=0)
    >>> bars.on(tick(10.0, 5)), bars.on(tick(12.0, 3)), bars.on(tick(11.0, SECOND))
    ((), (), ())
    >>> [bar] = bars.on(Clock(ts_event=SECOND, symbol="BTCUSDT"))
    >>> bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades, bar.vwap
    (12.0, 12.0, 10.0, 10.0, 4.0, 2, 11.0)
    """

    def __init__(self, settings: BarSettings) -> None:
        """Make bars; the symbol is learned from the first message that has one."""
        self.settings = settings
        self.calendar: Calendar = sessions(settings.calendar)
        self.always_open = settings.calendar == "24/7"
        self.state = BarState()

    def on(self, message: Any) -> Iterable[Any]:
        """Collect ticks, quotes and delivered bars; answer a `Clock` with its bar."""
        kind = type(message)
        if kind is Tick or kind is Quote:
            interval = self.settings.interval_ns
            ts_close = (message.ts_event // interval + 1) * interval
            bar = self.state.open.get(ts_close)
            if bar is None:
                reason = self._refusal(ts_close)
                if reason is not None:
                    return (self._rejected(message, reason),)
                bar = self.state.open[ts_close] = OpenBar()
                self.state.symbol = message.symbol
            if kind is Tick:
                bar.add_tick(message)
            else:
                bar.add_quote(message)
            return ()
        if kind is Clock:
            return self._close(message)
        if kind is DeliveredBar:
            return self._hold(message)
        return (message,)

    def on_end(self) -> Iterable[Any]:
        """Report what stands in bars that no Clock has closed; closes nothing."""
        if not self.state.symbol:
            return ()
        bars = self.state.open.values()
        counts = {
            "open_trades": sum(len(bar.sizes) for bar in bars),
            "open_quotes": sum(bar.quotes for bar in bars),
            "open_bars": sum(bar.delivered is not None for bar in bars),
            # So that a delivered bar counts as one message, not as its trades.
            "delivered_bars": self.state.delivered_bars,
            "delivered_trades": self.state.delivered_trades,
        }
        return [Tally(key=self.state.symbol, name=name, count=n) for name, n in counts.items()]

    def _refusal(self, ts_close: int) -> Reason | None:
        if ts_close <= self.state.closed:
            return Reason.LATE
        if not self.always_open and not self.calendar.session_of(
            ts_close, self.settings.interval_ns
        ):
            return Reason.OUTSIDE_SESSION
        return None

    def _hold(self, message: DeliveredBar) -> Iterable[Any]:
        ts_close = message.bar.ts_close
        reason = self._refusal(ts_close)
        if reason is not None:
            return (self._rejected(message, reason),)
        bar = self.state.open.setdefault(ts_close, OpenBar())
        if bar.delivered is not None:
            return (self._rejected(message, Reason.DUPLICATE),)
        bar.delivered = message
        self.state.symbol = message.symbol
        return ()

    # -------------------------------------------------------------------------- closing

    def _close(self, clock: Clock) -> Iterable[Any]:
        state = self.state
        interval = self.settings.interval_ns
        ts_close = clock.ts_event // interval * interval
        if ts_close <= state.closed:
            return ()
        state.closed = ts_close
        state.symbol = state.symbol or clock.symbol
        out: list[Any] = []
        # A Clock that leapt leaves bars behind that nobody asked for any more.
        for skipped in [at for at in state.open if at < ts_close]:
            out.extend(self._given_up(state.open.pop(skipped)))
        session = self.calendar.session_of(ts_close, interval)
        if session is None:
            return out
        bar = state.open.pop(ts_close, None)
        cut = any(
            condition == "cut" and (not self.settings.feeds or feed in self.settings.feeds)
            for feed, condition in clock.feeds
        )
        if bar is not None:
            if bar.sizes:
                if bar.delivered is not None:  # made from the same trades
                    out.append(self._rejected(bar.delivered, Reason.DUPLICATE))
                out.append(self._observed(bar, ts_close, session, cut=cut))
                return out
            if bar.delivered is not None:
                out.append(self._delivered(bar, bar.delivered.bar, session))
                return out
        out.extend(self._quiet(bar, ts_close, session, cut=cut))
        return out

    def _observed(self, bar: OpenBar, ts_close: int, session: Session, *, cut: bool) -> Bar:
        self._remember_quote(bar, ts_close)
        self.state.price = bar.close
        volume = fsum(bar.sizes)
        # Division may round past the range; features take the average to lie within it.
        vwap = min(max(fsum(bar.turnovers) / volume, bar.low), bar.high)
        return self._bar(
            ts_close,
            session,
            prices=(bar.open, bar.high, bar.low, bar.close),
            volume=volume,
            vwap=vwap,
            trades=len(bar.sizes),
            quotes=bar.quotes,
            quality=BarQuality.GAP if cut else BarQuality.OBSERVED,
        )

    def _delivered(self, bar: OpenBar, given: Bar, session: Session) -> Bar:
        state = self.state
        state.delivered_bars += 1
        state.delivered_trades += given.trades
        state.price = given.close
        if given.spread is not None or not bar.quotes:
            state.quoted, state.spread = given.ts_close, given.spread
            state.imbalance = given.imbalance
        else:
            self._remember_quote(bar, given.ts_close)
        return msgspec.structs.replace(
            given,
            quotes=bar.quotes,
            spread=state.spread,
            imbalance=state.imbalance,
            session_index=session.session_index,
            session_left=session.session_left,
            session_fraction=session.session_fraction,
        )

    def _quiet(
        self, bar: OpenBar | None, ts_close: int, session: Session, *, cut: bool
    ) -> Iterable[Any]:
        state = self.state
        quotes = 0
        if bar is not None and bar.quotes:
            quotes = bar.quotes
            self._remember_quote(bar, ts_close)
        if state.price is None:
            out: list[Any] = [NoBar(symbol=self.state.symbol, ts_close=ts_close)]
            out.extend(self._unused("unpriced_quotes", quotes))
            return out
        price = state.price
        quiet = self._bar(
            ts_close,
            session,
            prices=(price, price, price, price),
            volume=0.0,
            vwap=price,
            trades=0,
            quotes=quotes,
            quality=BarQuality.GAP if cut else BarQuality.QUIET,
        )
        return (quiet,)

    def _bar(
        self,
        ts_close: int,
        session: Session,
        *,
        prices: tuple[float, float, float, float],
        volume: float,
        vwap: float,
        trades: int,
        quotes: int,
        quality: BarQuality,
    ) -> Bar:
        state, interval = self.state, self.settings.interval_ns
        fresh = ts_close - state.quoted <= self.settings.quote_bars * interval
        first, high, low, close = prices
        return Bar(
            symbol=self.state.symbol,
            interval=interval,
            ts_close=ts_close,
            open=first,
            high=high,
            low=low,
            close=close,
            volume=volume,
            trades=trades,
            quotes=quotes,
            vwap=vwap,
            spread=state.spread if fresh else None,
            imbalance=state.imbalance if fresh else None,
            quality=quality,
            session_index=session.session_index,
            session_left=session.session_left,
            session_fraction=session.session_fraction,
        )

    def _remember_quote(self, bar: OpenBar, ts_close: int) -> None:
        if bar.quotes:
            state = self.state
            state.quoted, state.spread, state.imbalance = ts_close, bar.spread, bar.imbalance

    # -------------------------------------------------------------------- what is not used

    def _given_up(self, bar: OpenBar) -> Iterable[Any]:
        if bar.delivered is not None:
            yield self._rejected(bar.delivered, Reason.LATE)
        yield from self._unused("given_up_trades", len(bar.sizes))
        yield from self._unused("given_up_quotes", bar.quotes)

    def _unused(self, name: str, count: int) -> Iterable[Tally]:
        if count:
            total = self.state.unused[name] = self.state.unused.get(name, 0) + count
            yield Tally(key=self.state.symbol, name=name, count=total)

    def _rejected(self, message: Tick | Quote | DeliveredBar, reason: Reason) -> Rejection:
        return Rejection(
            reason=reason,
            payload=msgspec.json.encode(message),
            ts_init=message.ts_init,
            offset=message.offset,
            symbol=message.symbol,
        )
