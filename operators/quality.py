"""Say which messages of a symbol cannot be trusted, and which trades its ids prove missing.

`rejection` decides without changing anything; the stage remembers what was accepted. A
rejected message is remembered only as a hint that a leap may be real: an id or a price that
leaps is accepted once enough messages in a row agree.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import log
from typing import Any

import msgspec
import numpy as np

from operators.messages import (
    SECOND,
    Clock,
    DeliveredBar,
    Gap,
    Quote,
    Reason,
    Rejection,
    Tick,
)

AGGREGATE = "/aggregate"  # venues of trades told in sums end so
_MEDIAN_TO_DEVIATION = 1.4826  # of a normal distribution
_SUPPORT = 3  # quotes that must vouch for an update id before older ones count as outdated


class QualityLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a message is not trusted."""

    interval_ns: int = SECOND
    # How far the recorder's clock ran behind the venue's.
    receive_offset_ns: int = 0
    # Venue time against receipt. Live feeds stay within a second of it; five leave room for
    # a slow link and a recorder whose clock is off.
    stale_ns: int = 5 * SECOND
    future_ns: int = 5 * SECOND
    # An id further ahead than this is not believed alone: no venue trades that often between
    # two messages.
    max_id_leap: int = 100_000
    id_confirmations: int = 3
    # A price is an outlier when it moved by more than the floor *and* its move is that many
    # robust deviations from what this symbol does. Two percent from one trade to the next
    # is news even in a thin market; bars span nights and earnings.
    price_floor: float = 0.02
    bar_floor: float = 0.25
    max_deviations: float = 10.0
    # So many prices in a row within the floor of each other are the new price.
    price_confirmations: int = 5
    open_gaps: int = 256  # the oldest is given up first
    # If only outdated quotes came for so long, the venue has begun to count anew.
    quote_ids_forgotten_ns: int = 10 * SECOND


@dataclass(slots=True)
class PriceMemory:
    """The last accepted prices, and the rejected ones since that agree with each other."""

    accepted: deque[float] = field(default_factory=lambda: deque(maxlen=65))
    pending: list[float] = field(default_factory=list)

    def is_outlier(self, price: float, floor: float, limits: QualityLimits) -> bool:
        """Say whether `price` is out of line, and not confirmed by those before it."""
        if not self.accepted:
            return False
        last = self.accepted[-1]
        if last * (1.0 - floor) <= price <= last * (1.0 + floor):
            return False
        returns = np.diff(np.log(self.accepted))
        if len(returns):
            median = float(np.median(returns))
            deviation = _MEDIAN_TO_DEVIATION * float(np.median(np.abs(returns - median)))
            if abs(log(price / last) - median) <= limits.max_deviations * deviation:
                return False
        return len(self.agreeing(price, floor)) < limits.price_confirmations - 1

    def agreeing(self, price: float, floor: float) -> list[float]:
        """Return the pending prices if `price` agrees with all of them, else none."""
        low, high = price * (1.0 - floor), price * (1.0 + floor)
        agree = all(low <= other <= high for other in self.pending)
        return self.pending if agree else []

    def accept(self, price: float) -> None:
        """Remember a trusted price."""
        self.accepted.append(price)
        if self.pending:
            self.pending.clear()

    def suspect(self, price: float, floor: float) -> None:
        """Remember an outlier, in case more follow that agree."""
        self.pending = [*self.agreeing(price, floor), price]


@dataclass(slots=True)
class OpenGap:
    """Missing trade ids, and those of them that have not come since."""

    first_id: int
    last_id: int
    ts_from: int
    ts_to: int
    missing: list[tuple[int, int]]  # inclusive, ascending
    owed: bool = True  # False before the first id we saw: nobody promised us those
    filled: int = 0

    def lacks(self, trade_id: int) -> bool:
        """Say whether this id is still missing."""
        place = bisect_right(self.missing, (trade_id, 1 << 63)) - 1
        return place >= 0 and trade_id <= self.missing[place][1]

    def fill(self, trade_id: int) -> None:
        """Note that a missing id came after all."""
        place = bisect_right(self.missing, (trade_id, 1 << 63)) - 1
        low, high = self.missing[place]
        self.missing[place : place + 1] = [
            part
            for part in ((low, trade_id - 1), (trade_id + 1, high))
            if part[0] <= part[1]
        ]
        self.filled += 1


@dataclass(slots=True)
class IdMemory:
    """Which trade ids of one tape were seen: all of [first, last] but the gaps' missing ones."""

    first: int = 0
    last: int = -1
    accepted: int = 0
    ts_last: int = 0
    gaps: list[OpenGap] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)  # leaping ids in a row, each near the last

    def seen(self, trade_id: int) -> bool:
        """Say whether this id came before."""
        return self.first <= trade_id <= self.last and not any(
            gap.lacks(trade_id) for gap in self.gaps
        )

    def leaps(self, trade_id: int, limits: QualityLimits) -> bool:
        """Say whether this id is further off than can be believed of one message."""
        reach = limits.max_id_leap
        if self.accepted < limits.id_confirmations:  # nothing to judge by yet
            return False
        if self.first - reach <= trade_id <= self.last + reach:
            return False
        return len(self.near(trade_id, reach)) < limits.id_confirmations - 1

    def near(self, trade_id: int, reach: int) -> list[int]:
        """Return the pending ids if this one follows the last of them closely, else none."""
        follows = self.pending and 0 < trade_id - self.pending[-1] <= reach
        return self.pending if follows else []

    def suspect(self, trade_id: int, reach: int) -> None:
        """Remember an id that leaps, in case more follow."""
        self.pending = [*self.near(trade_id, reach), trade_id][-8:]

    def accept(self, tick: Tick, limits: QualityLimits) -> Gap | None:
        """Remember an accepted trade; return the gap that it proves, or fills in part."""
        trade_id = tick.trade_id
        assert trade_id is not None  # noqa: S101 - the caller asked
        self.accepted += 1
        if self.pending:
            self.pending.clear()
        before, ts_before = self.last, self.ts_last
        self.ts_last = tick.ts_event
        if trade_id == before + 1 and self.accepted > 1:
            self.last = trade_id
            return None
        far = not self.first - limits.max_id_leap <= trade_id <= before + limits.max_id_leap
        # Until three were accepted no id is believed more than another: begin anew.
        if self.accepted == 1 or (far and self.accepted <= limits.id_confirmations):
            self.first = self.last = trade_id
            self.gaps.clear()
            return None
        if trade_id > before:
            self.last = trade_id
            span = (before + 1, trade_id - 1)
            gap = OpenGap(*span, ts_before, tick.ts_event, [span])
            self.gaps = [*self.gaps, gap][-limits.open_gaps :]
            return self._report(tick, gap)
        if trade_id < self.first:
            span = (trade_id + 1, self.first - 1)
            self.first = trade_id
            if span[0] <= span[1]:
                gap = OpenGap(*span, tick.ts_event, ts_before, [span], owed=False)
                self.gaps = [*self.gaps, gap][-limits.open_gaps :]
            return None
        for gap in self.gaps:
            if gap.lacks(trade_id):
                gap.fill(trade_id)
                if not gap.missing:
                    self.gaps.remove(gap)
                return self._report(tick, gap) if gap.owed else None
        return None

    @staticmethod
    def _report(tick: Tick, gap: OpenGap) -> Gap:
        return Gap(
            symbol=tick.symbol,
            venue=tick.venue,
            first_id=gap.first_id,
            last_id=gap.last_id,
            ts_from=gap.ts_from,
            ts_to=gap.ts_to,
            filled=gap.filled,
        )


@dataclass(slots=True)
class QuoteMemory:
    """The update ids of the last accepted quotes."""

    recent: deque[int] = field(default_factory=lambda: deque(maxlen=64))
    largest: list[int] = field(default_factory=list)  # the three largest, ascending
    # Quotes in a row that looked outdated: if they go on, it is our memory that is wrong.
    outdated: int = 0
    outdated_since: int = 0
    outdated_last: int = 0

    def seen(self, quote: Quote, limits: QualityLimits) -> bool:
        """Say whether this quote came before, or is older than three that did."""
        update_id, largest = quote.update_id, self.largest
        if update_id is None or not largest or update_id > largest[-1]:
            return False
        if update_id in self.recent:
            return True
        if len(largest) < _SUPPORT or update_id > largest[0]:
            return False
        return not (
            self.outdated >= limits.price_confirmations
            and update_id > self.outdated_last
            and quote.ts_event - self.outdated_since >= limits.quote_ids_forgotten_ns
        )

    def doubt(self, quote: Quote) -> None:
        """Remember a quote that was rejected as outdated."""
        update_id = quote.update_id
        if update_id is None or update_id in self.recent:
            return
        if self.outdated and update_id > self.outdated_last:
            self.outdated += 1
        else:
            self.outdated, self.outdated_since = 1, quote.ts_event
        self.outdated_last = update_id

    def accept(self, update_id: int) -> None:
        """Remember an accepted quote."""
        self.outdated = 0
        self.recent.append(update_id)
        largest = self.largest
        if len(largest) == _SUPPORT and update_id <= largest[0]:  # after doubt: begin anew
            self.largest = [update_id]
            return
        largest.append(update_id)
        if len(largest) > 1 and update_id < largest[-2]:
            largest.sort()
        if len(largest) > _SUPPORT:
            del largest[0]


@dataclass(slots=True)
class Memory:
    """What quality remembers of one symbol."""

    closed: int = 0  # the last Clock
    trades: PriceMemory = field(default_factory=PriceMemory)
    mids: PriceMemory = field(default_factory=PriceMemory)
    bars: PriceMemory = field(default_factory=PriceMemory)
    tapes: dict[str, IdMemory] = field(default_factory=dict)  # by venue
    quotes: QuoteMemory = field(default_factory=QuoteMemory)
    band: tuple[float, float] | None = None  # the last accepted bid and ask
    individual: int = 0  # trades accepted from a tape that tells each trade
    last_bar: int = 0


def rejection(
    message: Tick | Quote | DeliveredBar, limits: QualityLimits, memory: Memory
) -> Reason | None:
    """Say why `message` cannot be trusted, or None if it can; changes nothing.

    A locked quote (bid equal to ask) is trusted: it happens on real venues.
    """
    if isinstance(message, DeliveredBar):
        return _bar_rejection(message, limits, memory)
    if isinstance(message, Tick):
        tape = memory.tapes.get(message.venue)
        if tape is not None and message.trade_id is not None and message.trade_id <= tape.last:
            if tape.seen(message.trade_id):
                return Reason.DUPLICATE
        if memory.individual >= limits.id_confirmations and message.venue.endswith(AGGREGATE):
            return Reason.DUPLICATE  # the same trades, told in sums
    elif memory.quotes.seen(message, limits):
        return Reason.DUPLICATE
    reason = _time_rejection(message, limits, memory.closed)
    if reason is not None:
        return reason
    if isinstance(message, Quote):
        if message.bid > message.ask:
            return Reason.CROSSED
        return Reason.OUTLIER if _quote_is_outlier(message, limits, memory) else None
    if tape is not None and message.trade_id is not None and message.trade_id != tape.last + 1:
        if tape.leaps(message.trade_id, limits):
            return Reason.BAD_ID
    return Reason.OUTLIER if _trade_is_outlier(message.price, limits, memory) else None


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
    return memory.trades.is_outlier(price, floor, limits)


def _quote_is_outlier(quote: Quote, limits: QualityLimits, memory: Memory) -> bool:
    mids = memory.mids if memory.mids.accepted else memory.trades
    middle = (quote.bid + quote.ask) / 2.0
    if mids is memory.mids:
        return mids.is_outlier(middle, limits.price_floor, limits)
    # The first quotes are judged by the last trade, and released by each other.
    agreeing = memory.mids.agreeing(middle, limits.price_floor)
    return mids.is_outlier(middle, limits.price_floor, limits) and (
        len(agreeing) < limits.price_confirmations - 1
    )


def _bar_rejection(
    message: DeliveredBar, limits: QualityLimits, memory: Memory
) -> Reason | None:
    bar = message.bar
    if bar.ts_close <= memory.last_bar:
        return Reason.DUPLICATE
    if bar.ts_close <= memory.closed:
        return Reason.LATE
    if bar.ts_close > message.ts_init + limits.receive_offset_ns + limits.future_ns:
        return Reason.FUTURE
    extremes = (bar.high, bar.low, bar.close)
    if any(memory.bars.is_outlier(price, limits.bar_floor, limits) for price in extremes):
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
                memory.mids.accept((message.bid + message.ask) / 2.0)
                memory.band = (message.bid, message.ask)
                if message.update_id is not None:
                    memory.quotes.accept(message.update_id)
            elif kind is Tick:
                gap = self._accept_tick(message)
                return (message,) if gap is None else (gap, message)
            else:
                memory.bars.accept(message.bar.close)
                memory.last_bar = message.bar.ts_close
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
        memory.trades.accept(tick.price)
        if memory.individual < self.limits.id_confirmations and not tick.venue.endswith(AGGREGATE):
            memory.individual += 1
        if tick.trade_id is None:
            return None
        tape = memory.tapes.get(tick.venue)
        if tape is None:
            tape = memory.tapes[tick.venue] = IdMemory()
        return tape.accept(tick, self.limits)

    def _rejected(self, message: Tick | Quote | DeliveredBar, reason: Reason) -> Rejection:
        limits, memory = self.limits, self.state
        if reason is Reason.BAD_ID and isinstance(message, Tick):
            assert message.trade_id is not None  # noqa: S101 - else there is no bad id
            memory.tapes[message.venue].suspect(message.trade_id, limits.max_id_leap)
        elif reason is Reason.DUPLICATE and isinstance(message, Quote):
            memory.quotes.doubt(message)
        elif reason is Reason.OUTLIER:
            if isinstance(message, Tick):
                memory.trades.suspect(message.price, limits.price_floor)
            elif isinstance(message, Quote):
                memory.mids.suspect((message.bid + message.ask) / 2.0, limits.price_floor)
            else:
                memory.bars.suspect(message.bar.close, limits.bar_floor)
        return Rejection(
            reason=reason,
            payload=msgspec.json.encode(message),
            ts_init=message.ts_init,
            offset=message.offset,
            symbol=message.symbol,
        )
