"""A symbol that the venue trades: a recorded track, shifted in time, looped, under its name.

Everything has a place on the schedule (ns from its start). An instrument's place of an event is
its place in the recording, later by the copy's delay, by the length of each loop that came
before, and by each quiet time that was put in. E and T in what is sent are the venue times of
those places, so a message is consistent with the clock whatever was shifted; with nothing
shifted on the recorded clock that is what the recorded bytes say, and they are sent as they are.
"""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from exchange.clock import ClockMode, VenueClock
from exchange.recordings import (
    AGGREGATE,
    MILLISECOND,
    QUOTE,
    TRADE,
    Track,
    Trade,
)

__all__ = ["STREAMS", "AggregateTrade", "Instrument", "SoldTrade"]

STREAMS = {TRADE: "trade", QUOTE: "bookTicker", AGGREGATE: "aggTrade"}
_NEVER = 1 << 62  # ns; a place that no schedule reaches


class SoldTrade(NamedTuple):
    """A trade as the venue tells it."""

    id: int
    event_ms: int
    time_ms: int
    price: str
    quantity: str
    maker: bool


class AggregateTrade(NamedTuple):
    """An aggregate trade as the venue tells it."""

    id: int
    event_ms: int
    time_ms: int
    price: str
    units: int  # quantity in 1e-8
    first: int  # trade ids
    last: int
    maker: bool


class Instrument:
    """One symbol. Trades, aggregates and events are counted from 0 over all loops."""

    def __init__(
        self,
        symbol: str,
        track: Track,
        clock: VenueClock,
        loop_length: int,
        *,
        delay: int = 0,
        looped: bool = False,
    ) -> None:
        """Place `track` on the schedule, `delay` ns late; `looped`: for ever."""
        self.symbol = symbol
        self.track = track
        self.clock = clock
        self.loop_length = loop_length
        self.delay = delay
        self.looped = looped
        self.cursor = 0  # the event that is sent next, where it is, and when
        self.next_event = track.events[0]
        self.next_place = 0
        self._quiet: list[tuple[int, int]] = []  # from an event on, how much later in all (ns)
        # Aggregate ids have a space of their own: a client that mixes them up must notice.
        self._first_aggregate_id = track.trades[0].id // 3 + 1
        self._verbatim = symbol == track.symbol and clock.mode is ClockMode.RECORDED and not delay
        name = symbol.lower()
        self.names = {kind: f"{name}@{stream}" for kind, stream in STREAMS.items()}
        self.prefix = {k: b'{"stream":"%b","data":' % n.encode() for k, n in self.names.items()}
        self._symbol = symbol.encode()
        self._move(0)

    # The schedule.

    def later(self, event: int) -> int:
        """Tell how much later than in the recording's first loop `event` is, in ns."""
        loop = event // len(self.track.events)
        shift = self.delay + loop * self.loop_length
        return shift + self._quiet_at(event) if self._quiet else shift

    def _quiet_at(self, event: int) -> int:
        found = bisect_right(self._quiet, event, key=lambda entry: entry[0])
        return self._quiet[found - 1][1] if found else 0

    def place(self, event: int) -> int:
        """Tell when on the schedule `event` is sent."""
        return self.track.dues[event % len(self.track.events)] + self.later(event)

    def events_until(self, position: int) -> int:
        """Count the events that are due by `position`."""
        return bisect_right(self._all(position, len(self.track.events)), position, key=self.place)

    def end(self) -> int | None:
        """Tell where on the schedule the last event is; None where there is no last one."""
        return None if self.looped else self.place(len(self.track.events) - 1)

    def seek(self, position: int) -> None:
        """Send next what is due at `position` or after it."""
        self._move(self.events_until(position - 1))

    def advance(self) -> None:
        """Send next the event after the one that was."""
        self._move(self.cursor + 1)

    def _move(self, event: int) -> None:
        self.cursor = event
        each = len(self.track.events)
        if event >= each and not self.looped:
            self.next_place = _NEVER
            return
        self.next_event = self.track.events[event % each]
        self.next_place = self.next_event.due + self.later(event)

    def _all(self, position: int, each: int) -> range:
        if not self.looped:
            return range(each)
        return range(each * (max(0, position - self.delay) // self.loop_length + 2))

    def quiet(self, position: int, length: int) -> None:
        """Let nothing happen for `length` ns from `position` on; all that was to come is later.

        A trade that happened by `position` is still sent, with what comes before it.
        """
        each = len(self.track.events)
        event = self.events_until(position)
        happened = self.trades_until(position)
        if happened:
            event = max(event, self._event_of_trade(happened - 1) + 1)
        if event % each and self.track.events[event % each].kind == AGGREGATE:
            event += 1  # it belongs to the trade before it
        before = self._quiet[-1][1] if self._quiet else 0
        length += -length % MILLISECOND  # so that E and T stay whole
        if self._quiet and self._quiet[-1][0] >= event:
            event = self._quiet.pop()[0]
        self._quiet.append((event, before + length))
        self._move(self.cursor)

    # What happened.

    def _event_of_trade(self, trade: int) -> int:
        loop, index = divmod(trade, len(self.track.trades))
        return loop * len(self.track.events) + self.track.trades[index].line

    def trade_place(self, trade: int) -> int:
        """Tell when on the schedule `trade` happened."""
        index = trade % len(self.track.trades)
        return self.track.times[index] + self.later(self._event_of_trade(trade))

    def trade_ms(self, trade: int) -> int:
        """Tell the venue time (ms) at which `trade` happened."""
        return self.clock.at(self.trade_place(trade)) // MILLISECOND

    def trades_until(self, position: int) -> int:
        """Count the trades that have happened by `position`."""
        every = self._all(position, len(self.track.trades))
        return bisect_right(every, position, key=self.trade_place)

    def trades_before_ms(self, time_ms: int, visible: int) -> int:
        """Count those of the first `visible` trades that happened before `time_ms`."""
        return bisect_left(range(visible), time_ms, key=self.trade_ms)

    def trade_id(self, trade: int) -> int:
        """Tell the id of `trade`."""
        loop, index = divmod(trade, len(self.track.trades))
        return self.track.trades[index].id + loop * self.track.id_span

    def trades_before_id(self, trade_id: int, visible: int) -> int:
        """Count those of the first `visible` trades whose ids are below `trade_id`."""
        return bisect_left(range(visible), trade_id, key=self.trade_id)

    def trade(self, trade: int) -> SoldTrade:
        """Tell `trade` as the venue does."""
        row = self.track.trades[trade % len(self.track.trades)]
        event_ms, time_ms = self._times(row, self.later(self._event_of_trade(trade)))
        identity = self.trade_id(trade)
        price, quantity = row.price.decode(), row.quantity.decode()
        return SoldTrade(identity, event_ms, time_ms, price, quantity, row.maker)

    def _times(self, row: Trade, later: int) -> tuple[int, int]:
        """Tell E and T (ms) of a recorded trade that is `later` ns."""
        shift = later - self.track.start
        at = self.clock.at
        return (
            at(row.event_ms * MILLISECOND + shift) // MILLISECOND,
            at(row.time_ms * MILLISECOND + shift) // MILLISECOND,
        )

    def aggregates_of(self, trades: int) -> int:
        """Count the aggregates that the first `trades` trades make, without an unfinished one."""
        loop, index = divmod(trades, len(self.track.trades))
        done = bisect_right(self.track.aggregates, index - 1, key=lambda one: one.last)
        return loop * len(self.track.aggregates) + done

    def aggregate_id(self, aggregate: int) -> int:
        """Tell the id of `aggregate`."""
        return self._first_aggregate_id + aggregate

    def aggregates_before_id(self, aggregate_id: int, visible: int) -> int:
        """Count those of the first `visible` aggregates whose ids are below `aggregate_id`."""
        return min(max(0, aggregate_id - self._first_aggregate_id), visible)

    def aggregates_before_ms(self, time_ms: int, visible: int) -> int:
        """Count those of the first `visible` aggregates that happened before `time_ms`."""
        return bisect_left(range(visible), time_ms, key=self._aggregate_ms)

    def _last_trade(self, aggregate: int) -> int:
        loop, index = divmod(aggregate, len(self.track.aggregates))
        return loop * len(self.track.trades) + self.track.aggregates[index].last

    def _aggregate_ms(self, aggregate: int) -> int:
        return self.trade_ms(self._last_trade(aggregate))

    def aggregate(self, aggregate: int) -> AggregateTrade:
        """Tell `aggregate` as the venue does."""
        last = self._last_trade(aggregate)
        one = self.track.aggregates[aggregate % len(self.track.aggregates)]
        trade = self.trade(last)
        quantity = self.track.sums[0]
        return AggregateTrade(
            self.aggregate_id(aggregate),
            trade.event_ms,
            trade.time_ms,
            trade.price,
            quantity[one.last + 1] - quantity[one.first],
            trade.id - (one.last - one.first),
            trade.id,
            trade.maker,
        )

    # What is sent.

    def payload(self, event: int) -> bytes:
        """Make the bare message of `event`, as `/ws/<stream>` sends it."""
        loop, within = divmod(event, len(self.track.events))
        _, _, kind, index = self.track.events[within]
        later = self.later(event)
        if kind == AGGREGATE:
            return self._aggregate_payload(loop * len(self.track.aggregates) + index)
        if kind == QUOTE:
            quote = self.track.quotes[index]
            if self._verbatim and not loop:
                return quote.raw[len(self.prefix[QUOTE]) : -1]
            identity = quote.id + loop * self.track.quote_id_span
            return b'{"u":%d,"s":"%b"%b}' % (identity, self._symbol, quote.rest)
        trade = self.track.trades[index]
        if self._verbatim and not later:
            return trade.raw[len(self.prefix[TRADE]) : -1]
        event_ms, time_ms = self._times(trade, later)
        return (
            b'{"e":"trade","E":%d,"s":"%b","t":%d,"p":"%b","q":"%b","T":%d,"m":%b,"M":true}'
        ) % (
            event_ms,
            self._symbol,
            trade.id + loop * self.track.id_span,
            trade.price,
            trade.quantity,
            time_ms,
            b"true" if trade.maker else b"false",
        )

    def _aggregate_payload(self, aggregate: int) -> bytes:
        one = self.aggregate(aggregate)
        return (
            b'{"e":"aggTrade","E":%d,"s":"%b","a":%d,"p":"%b","q":"%d.%08d","f":%d,"l":%d,'
            b'"T":%d,"m":%b,"M":true}'
        ) % (
            one.event_ms,
            self._symbol,
            one.id,
            one.price.encode(),
            *divmod(one.units, 100_000_000),
            one.first,
            one.last,
            one.time_ms,
            b"true" if one.maker else b"false",
        )
