"""Say which messages of a symbol cannot be trusted, and which trades its ids prove missing.

`rejection` decides without changing anything; the stage remembers what was accepted. A
rejected message is remembered only as a hint that a leap may be real: an id or a price that
leaps is accepted once enough messages in a row agree.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from operators.messages import Clock, DeliveredBar, Gap, Quote, Reason, Rejection, Tick
from operators.quality_memory import IdMemory, Memory, PriceMemory, QualityLimits

AGGREGATE = "/aggregate"  # venues of trades told in sums end so


def rejection(
    message: Tick | Quote | DeliveredBar, limits: QualityLimits, memory: Memory
) -> Reason | None:
    """Say why `message` cannot be trusted, or None if it can; changes nothing.

    A locked quote (bid equal to ask) is trusted: it happens on real venues.
    """
    if isinstance(message, DeliveredBar):
        return _bar_rejection(message, limits, memory)
    if isinstance(message, Quote):
        if memory.quotes.seen(message, limits):
            return Reason.DUPLICATE
        reason = _time_rejection(message, limits, memory.closed)
        return _quote_rejection(message, limits, memory) if reason is None else reason
    return _tick_rejection(message, limits, memory)


def _quote_rejection(quote: Quote, limits: QualityLimits, memory: Memory) -> Reason | None:
    if quote.bid > quote.ask:
        return Reason.CROSSED
    if quote.update_id is not None and memory.quotes.leaps(quote.update_id, limits):
        return Reason.BAD_ID
    middle = (quote.bid + quote.ask) / 2.0
    if _is_outlier(middle, memory.mids, memory.trades, limits, limits.price_floor):
        return Reason.OUTLIER
    return None


def _tick_rejection(tick: Tick, limits: QualityLimits, memory: Memory) -> Reason | None:
    tape = memory.tapes.get(tick.venue)
    trade_id = -1 if tape is None or tick.trade_id is None else tick.trade_id
    # The next id in line, which nearly all are, is neither seen nor leaping.
    leaps = False
    if tape is not None and trade_id not in {-1, tape.last + 1}:
        if tape.seen(trade_id):
            return Reason.DUPLICATE
        leaps = tape.leaps(trade_id, limits)
    if memory.singles and tick.venue.endswith(AGGREGATE) and _told_singly(tick, limits, memory):
        return Reason.DUPLICATE
    reason = _time_rejection(tick, limits, memory.closed)
    if reason is None and leaps:
        return Reason.BAD_ID
    if reason is None and _trade_is_outlier(tick.price, limits, memory):
        return Reason.OUTLIER
    return reason


def _told_singly(tick: Tick, limits: QualityLimits, memory: Memory) -> bool:
    """Say whether a sum repeats trades that were told one by one.

    Until three single trades came they may be strays, so that only a sum of the same time and
    price repeats one. A trade told after its sum counts twice: to know better, sums would
    have to wait.
    """
    singles = memory.singles
    if (tick.ts_event, tick.price) in singles:
        return True
    recent = tick.ts_event - singles[-1][0] <= limits.trades_forgotten_ns
    return recent and len(singles) == singles.maxlen


def _time_rejection(message: Tick | Quote, limits: QualityLimits, closed: int) -> Reason | None:
    behind = message.ts_init + limits.receive_offset_ns - message.ts_event
    if behind > limits.stale_ns:
        return Reason.STALE
    if -behind > limits.future_ns:
        return Reason.FUTURE
    # Bars cover [T - interval, T), so what happened at T belongs to the next one.
    return Reason.LATE if message.ts_event < closed else None


def _trade_is_outlier(price: float, limits: QualityLimits, memory: Memory) -> bool:
    floor = limits.price_floor
    if memory.band is not None:
        bid, ask = memory.band
        if bid * (1.0 - floor) <= price <= ask * (1.0 + floor):
            return False  # someone quotes that price: thin books trade from side to side
    return _is_outlier(price, memory.trades, memory.mids, limits, floor)


def _is_outlier(
    price: float, own: PriceMemory, other: PriceMemory, limits: QualityLimits, floor: float
) -> bool:
    if own.accepted:
        return own.is_outlier(price, floor, limits)
    # The first of a kind are judged by what else has a price, and released by each other.
    judged = other.is_outlier(price, floor, limits)
    return judged and not own.confirms(price, floor, limits, proven=other.proven)


def _bar_rejection(message: DeliveredBar, limits: QualityLimits, memory: Memory) -> Reason | None:
    bar = message.bar
    if bar.ts_close in memory.delivered:
        return Reason.DUPLICATE
    if bar.ts_close <= memory.closed:
        return Reason.LATE
    if bar.ts_close > message.ts_init + limits.receive_offset_ns + limits.bar_future_ns:
        return Reason.FUTURE
    own, other = memory.bars, memory.trades if memory.trades.accepted else memory.mids
    extremes = (bar.high, bar.low, bar.close)
    if any(_is_outlier(price, own, other, limits, limits.bar_floor) for price in extremes):
        return Reason.OUTLIER
    return None


class Quality:
    """Pass on what can be trusted of one symbol, and reject the rest with a reason.

    Also reports the gaps that trade ids prove. Other messages pass through.

    >>> quality = Quality(QualityLimits())
    >>> def tick(price, trade_id):
    ...     return Tick(symbol="BTCUSDT", venue="binance", price=price, size=1.0, ts_event=9,
    ...                 ts_init=9, offset=trade_id, trade_id=trade_id)
    >>> for one in (tick(100.0, 1), tick(100.1, 2), tick(100.1, 2), tick(5e9, 3), tick(100.2, 5)):
    ...     [getattr(m, "reason", type(m).__name__) for m in quality.on(one)]
    ['Tick']
    ['Tick']
    [<Reason.DUPLICATE: 'duplicate'>]
    [<Reason.OUTLIER: 'outlier'>]
    ['Gap', 'Tick']
    """

    def __init__(self, limits: QualityLimits) -> None:
        """Take the limits, which are the same for all symbols."""
        self.limits = limits
        self.state = Memory()

    def on(self, message: Any) -> Iterable[Any]:
        """Return a trusted message as it is (behind a `Gap` it proves), else a `Rejection`."""
        kind = type(message)
        if kind is Tick or kind is Quote or kind is DeliveredBar:
            memory = self.state
            reason = rejection(message, self.limits, memory)
            if reason is not None:
                return (self._rejected(message, reason),)
            if kind is Quote:
                memory.mids.accept((message.bid + message.ask) / 2.0, self.limits)
                memory.band = (message.bid, message.ask)
                if message.update_id is not None:
                    memory.quotes.accept(message.update_id)
            elif kind is Tick:
                gap = self._accept_tick(message)
                return (message,) if gap is None else (gap, message)
            else:
                memory.bars.accept(message.bar.close, self.limits)
                memory.delivered.append(message.bar.ts_close)
        elif kind is Clock:
            interval = self.limits.interval_ns
            closed = message.ts_event // interval * interval
            self.state.closed = max(self.state.closed, closed)
        return (message,)

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()

    def _accept_tick(self, tick: Tick) -> Gap | None:
        memory = self.state
        memory.trades.accept(tick.price, self.limits)
        if not tick.venue.endswith(AGGREGATE):
            singles = memory.singles
            if singles and tick.ts_event - singles[-1][0] > self.limits.trades_forgotten_ns:
                singles.clear()
            singles.append((tick.ts_event, tick.price))
        if tick.trade_id is None:
            return None
        tape = memory.tapes.get(tick.venue)
        if tape is None:
            tape = memory.tapes[tick.venue] = IdMemory()
        return tape.accept(tick, self.limits)

    def _rejected(self, message: Tick | Quote | DeliveredBar, reason: Reason) -> Rejection:
        limits, memory = self.limits, self.state
        if reason is Reason.BAD_ID and isinstance(message, Quote):
            assert message.update_id is not None  # else there is no bad id
            memory.quotes.suspect(message.update_id, limits)
        elif reason is Reason.BAD_ID and isinstance(message, Tick):
            assert message.trade_id is not None  # else there is no bad id
            memory.tapes[message.venue].suspect(message.trade_id, limits.max_id_leap)
        elif reason is Reason.DUPLICATE and isinstance(message, Quote):
            memory.quotes.doubt(message)
        elif reason is Reason.OUTLIER:
            if isinstance(message, Tick):
                memory.trades.suspect(message.price)
            elif isinstance(message, Quote):
                memory.mids.suspect((message.bid + message.ask) / 2.0)
            else:
                memory.bars.suspect(message.bar.close)
        return Rejection(
            reason=reason,
            payload=msgspec.json.encode(message),
            ts_init=message.ts_init,
            offset=message.offset,
            symbol=message.symbol,
        )
