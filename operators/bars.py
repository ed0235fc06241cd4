"""Ticks and quotes become bars, closed by Clock and by nothing else.

Every Clock in session gives every symbol exactly one `Bar` (or `NoBar` before its first
price), also where nothing was traded. Within a bar order is (ts_event, trade_id, offset), so
that messages may arrive in any order until the Clock; sums are exactly rounded for the same
reason. After the Clock only trades that were asked for again change a bar: `repairs` says how.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from models.calendars import Calendar, Session, sessions
from operators import repairs
from operators.messages import (
    Bar,
    Clock,
    DeliveredBar,
    Hole,
    NoBar,
    Quote,
    Reason,
    Rejection,
    Repaired,
    Switch,
    Tally,
    Tick,
)
from operators.open_bars import BarSettings, BarState, Kept, OpenBar
from operators.switches import feed_of

__all__ = ["BarSettings", "BarState", "Bars"]


class Bars:
    """Aggregate one symbol into bars of the interval; other messages pass through.

    Clocks end here: from the bar on, time is `ts_close`. Holes and switches pass on, once
    noted. What they and backfilled trades change of closed bars comes as one `Repaired`,
    before the next bar.

    >>> from operators.messages import SECOND
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
                if reason is Reason.LATE and kind is Tick and message.backfilled:
                    reason = repairs.merge(self.state, message, ts_close, self.settings)
                    return () if reason is None else (self._rejected(message, reason),)
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
        if kind is Hole:
            self.state.symbol = self.state.symbol or message.symbol
            repairs.learn(self.state, message, self.settings, self.calendar)
        elif kind is Switch:
            self.state.switches.note(message, self.state.closed)
        return (message,)

    def on_end(self) -> Iterable[Any]:
        """Report what stands in bars that no Clock has closed or told; closes nothing."""
        if not self.state.symbol:
            return ()
        bars = self.state.open.values()
        # Fetched for a hole that is still open: in no bar as it was last told.
        untold = sum(kept.untold for kept in self.state.kept.values())
        counts = {
            "open_trades": sum(len(bar.sizes) for bar in bars) + untold,
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
        state, settings = self.state, self.settings
        interval = settings.interval_ns
        ts_close = clock.ts_event // interval * interval
        if ts_close <= state.closed:
            return ()
        before, state.closed = state.closed, ts_close
        state.symbol = state.symbol or clock.symbol
        if ts_close - before > interval:
            repairs.leap(state, before, ts_close, settings, self.calendar)
        out: list[Any] = []
        # A Clock that leapt leaves bars behind that nobody asked for any more.
        for skipped in [at for at in state.open if at < ts_close]:
            out.extend(self._given_up(state.open.pop(skipped)))
        session = self.calendar.session_of(ts_close, interval)
        if session is None:
            return out
        if state.due:
            changed = repairs.retell(state, settings, self.calendar)
            if changed:
                out.append(Repaired(symbol=state.symbol, known_at=ts_close, bars=changed))
        came = state.open.pop(ts_close, None)
        if came is not None and came.delivered is not None and came.sizes:
            # Made from the same trades.
            out.append(self._rejected(came.delivered, Reason.DUPLICATE))
            came.delivered = None
        entry = self._closed(came, ts_close, session, cut=self._is_cut(clock))
        if entry.bar is not None:
            out.append(entry.bar)
        else:
            out.append(NoBar(symbol=state.symbol, ts_close=ts_close))
            out.extend(self._unused("unpriced_quotes", 0 if came is None else came.quotes))
        for dropped in repairs.keep(state, ts_close, entry, settings):
            out.extend(self._dropped(dropped))
        return out

    def _is_cut(self, clock: Clock) -> bool:
        """Say whether Clock knows the feed in use to be cut."""
        feeds, used = self.settings.feeds, self.state.switches.current
        return any(
            condition == "cut"
            and (not feeds or feed in feeds)
            and (used is None or feed_of(feed) == used)
            for feed, condition in clock.feeds
        )

    def _closed(self, came: OpenBar | None, ts_close: int, session: Session, *, cut: bool) -> Kept:
        """Return the bar of what came, and remember what the next one carries on."""
        state, settings = self.state, self.settings
        if came is not None and came.delivered is not None:
            bar = self._delivered(came, came.delivered.bar, session)
            return Kept(carried=None, given=True, bar=bar)
        if came is not None and came.quotes:
            state.quoted, state.spread, state.imbalance = ts_close, came.spread, came.imbalance
        fresh = ts_close - state.quoted <= settings.quote_bars * settings.interval_ns
        entry = Kept(
            carried=state.price,
            trades=came if came is not None and came.sizes else None,
            quotes=0 if came is None else came.quotes,
            spread=state.spread if fresh else None,
            imbalance=state.imbalance if fresh else None,
            cut=cut,
        )
        quality = repairs.quality_of(state, ts_close, entry, settings, closing=True)
        entry.bar = entry.form(state.symbol, settings.interval_ns, ts_close, session, quality)
        if entry.bar is None:
            entry.quotes = 0  # counted as unpriced, also if a repair gives it a price
        state.price = entry.price
        return entry

    def _delivered(self, bar: OpenBar, given: Bar, session: Session) -> Bar:
        state = self.state
        state.delivered_bars += 1
        state.delivered_trades += given.trades
        state.price = given.close
        if given.spread is not None or not bar.quotes:
            state.quoted, state.spread = given.ts_close, given.spread
            state.imbalance = given.imbalance
        else:
            state.quoted, state.spread = given.ts_close, bar.spread
            state.imbalance = bar.imbalance
        return msgspec.structs.replace(
            given,
            quotes=bar.quotes,
            spread=state.spread,
            imbalance=state.imbalance,
            session_index=session.session_index,
            session_left=session.session_left,
            session_fraction=session.session_fraction,
        )

    # -------------------------------------------------------------------- what is not used

    def _given_up(self, bar: OpenBar) -> Iterable[Any]:
        if bar.delivered is not None:
            yield self._rejected(bar.delivered, Reason.LATE)
        yield from self._unused("given_up_trades", len(bar.sizes))
        yield from self._unused("given_up_quotes", bar.quotes)

    def _dropped(self, kept: Kept) -> Iterable[Tally]:
        """Account for what a bar holds that was never told: its hole stayed open too long."""
        yield from self._unused("given_up_trades", kept.untold)
        if kept.leapt and kept.bar is None:
            yield from self._unused("given_up_quotes", kept.quotes)

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
