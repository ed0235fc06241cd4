"""Say which messages of a symbol cannot be trusted, and which trades its ids prove missing.

`rejection` decides without changing anything; the stage remembers what was accepted. A
rejected message is remembered only as a hint that a leap may be real: an id or a price that
leaps is accepted once enough messages in a row agree.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

import msgspec

from operators.messages import Clock, DeliveredBar, Gap, Quote, Reason, Rejection, Switch, Tick
from operators.quality_ids import IdMemory
from operators.quality_limits import QualityLimits
from operators.quality_memory import Memory, RunningTotal
from operators.quality_rules import AGGREGATE, in_totals, rejection
from operators.switches import feed_of

__all__ = ["Quality", "rejection"]

_SINGLES = 3  # trades told singly that prove a feed tells them so


class Quality:
    """Pass on what can be trusted of one symbol, and reject the rest with a reason.

    Also reports the gaps that trade ids prove, and makes sizes of day volumes. Other messages
    pass through.

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
        """Return a trusted message (behind a `Gap` that it proves or fills), else a `Rejection`.

        It is as it came, but for the size of a trade that tells a day volume instead.
        """
        kind = type(message)
        if kind is Tick or kind is Quote or kind is DeliveredBar:
            memory = self.state
            if kind is Tick and message.ts_event < memory.closed:
                message = self._late(message)
            reason = rejection(message, self.limits, memory)
            if reason is not None:
                return (self._rejected(message, reason),)
            if kind is Quote:
                middle = (message.bid + message.ask) / 2.0
                memory.mids.accept(middle, self.limits, message.ts_event)
                memory.band = (message.bid, message.ask)
                if message.update_id is not None:
                    memory.quotes.accept(message.update_id)
            elif kind is Tick:
                if message.trade_id is None and in_totals(message):
                    message = self._sized(message)
                gap = self._accept_tick(message)
                return (message,) if gap is None else (gap, message)
            else:
                memory.bars.accept(message.bar.close, self.limits)
                memory.delivered.append(message.bar.ts_close)
        elif kind is Clock:
            interval = self.limits.interval_ns
            closed = message.ts_event // interval * interval
            self.state.closed = max(self.state.closed, closed)
        elif kind is Switch:
            self._switch(message)
        return (message,)

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()

    def _late(self, tick: Tick) -> Tick:
        """Return a late trade as one that repairs its bar, where its id says that it is new.

        One of a venue that tells the day's volume is the latest price all the same, and counts
        from when it was known.
        """
        limits, closed = self.limits, self.state.closed
        if tick.backfilled or not limits.repairs_late:
            return tick
        if tick.trade_id is None:
            told = in_totals(tick) and tick.ts_init - tick.ts_event <= limits.stale_ns
            return msgspec.structs.replace(tick, ts_event=closed) if told else tick
        return msgspec.structs.replace(tick, backfilled=True)

    def _accept_tick(self, tick: Tick) -> Gap | None:
        memory = self.state
        current = True
        if tick.backfilled:
            memory.fetched.accept(tick.price, self.limits, tick.ts_event)
            current = tick.ts_event >= memory.trades.ts  # else it is history to the memory
        if current:
            memory.trades.accept(tick.price, self.limits, tick.ts_event)
            if not tick.venue.endswith(AGGREGATE):
                self._accept_single(tick)
        if tick.trade_id is None:
            return None
        tape = memory.tapes.get(tick.venue)
        if tape is None:
            tape = memory.tapes[tick.venue] = IdMemory()
        return tape.accept(tick, self.limits)

    def _accept_single(self, tick: Tick) -> None:
        singles = self.state.singles.get(tick.venue)
        if singles is None:
            singles = self.state.singles[tick.venue] = deque(maxlen=_SINGLES)
        elif tick.ts_event - singles[-1][0] > self.limits.trades_forgotten_ns:
            singles.clear()
        singles.append((tick.ts_event, tick.price))

    def _sized(self, tick: Tick) -> Tick:
        """Return the trade with the volume since the last one of its venue as its size.

        The first has none: how much of the day's volume it traded nobody knows.
        """
        totals = self.state.totals
        last = totals.get(tick.venue)
        if last is None:
            last = totals[tick.venue] = RunningTotal(0, 0.0, None)
        size = last.size_of(tick, self.limits)
        last.accept(tick)
        return tick if size == tick.size else msgspec.structs.replace(tick, size=size)

    def _switch(self, switch: Switch) -> None:
        memory = self.state
        memory.switches.note(switch, memory.closed)
        if switch.before == switch.after:
            return
        # What was traded while the other feed stood in is in its bars.
        for venue in [name for name in memory.totals if feed_of(name) == feed_of(switch.after)]:
            del memory.totals[venue]

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
                prices = memory.fetched if message.backfilled else memory.trades
                prices.suspect(message.price)
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
