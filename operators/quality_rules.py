"""Why a message of a symbol cannot be trusted: pure functions of it and of what was accepted."""

from operators.messages import DeliveredBar, Quote, Reason, Tick
from operators.quality_limits import QualityLimits
from operators.quality_memory import Memory, PriceMemory
from operators.switches import feed_of

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
    middle, ts = (quote.bid + quote.ask) / 2.0, quote.ts_event
    if _is_outlier(middle, memory.mids, memory.trades, limits, limits.price_floor, ts):
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
        leaps = tape.leaps(trade_id, limits, tick.ts_event)
    if memory.singles and tick.venue.endswith(AGGREGATE) and _told_singly(tick, limits, memory):
        return Reason.DUPLICATE
    if memory.totals and tick.venue in memory.totals and in_totals(tick):
        reason = memory.totals[tick.venue].judge(tick)
        if reason is not None:
            return reason
    if tick.backfilled:
        reason = _fetched_rejection(tick, memory)
    else:
        reason = _time_rejection(tick, limits, memory.closed)
    if reason is None and leaps:
        return Reason.BAD_ID
    if reason is None and _trade_is_outlier(tick, limits, memory):
        return Reason.OUTLIER
    return reason


def in_totals(tick: Tick) -> bool:
    """Say whether the venue tells no sizes but the volume of the day, if that."""
    return tick.trade_id is None and (tick.day_volume is not None or tick.size == 0.0)


def _fetched_rejection(tick: Tick, memory: Memory) -> Reason | None:
    """Judge the time of a trade that was asked for later: of whatever age, it is no less true.

    But where another feed stood in, that feed's trades are in the bars already.
    """
    used = memory.switches.used(tick.venue, tick.ts_event)
    return None if used else Reason.COVERED


def _told_singly(tick: Tick, limits: QualityLimits, memory: Memory) -> bool:
    """Say whether a sum repeats trades that were told one by one.

    Until three single trades came they may be strays, so that only a sum of the same time and
    price repeats one. A trade told after its sum counts twice: to know better, sums would
    have to wait.
    """
    feed = feed_of(tick.venue)
    for venue, singles in memory.singles.items():
        if feed_of(venue) != feed:  # another feed tells the same trades for times of its own
            continue
        if (tick.ts_event, tick.price) in singles:
            return True
        recent = tick.ts_event - singles[-1][0] <= limits.trades_forgotten_ns
        if recent and len(singles) == singles.maxlen:
            return True
    return False


def _time_rejection(message: Tick | Quote, limits: QualityLimits, closed: int) -> Reason | None:
    behind = message.ts_init + limits.receive_offset_ns - message.ts_event
    if behind > limits.stale_ns:
        return Reason.STALE
    if -behind > limits.future_ns:
        return Reason.FUTURE
    # Bars cover [T - interval, T), so what happened at T belongs to the next one.
    return Reason.LATE if message.ts_event < closed else None


def _trade_is_outlier(tick: Tick, limits: QualityLimits, memory: Memory) -> bool:
    price, floor = tick.price, limits.price_floor
    if tick.backfilled:
        return _fetched_is_outlier(tick, limits, memory)
    if memory.band is not None:
        bid, ask = memory.band
        if bid * (1.0 - floor) <= price <= ask * (1.0 + floor):
            return False  # someone quotes that price: thin books trade from side to side
    return _is_outlier(price, memory.trades, memory.mids, limits, floor, tick.ts_event)


def _fetched_is_outlier(tick: Tick, limits: QualityLimits, memory: Memory) -> bool:
    """Judge a trade asked for later roughly: the prices known are of another time."""
    floor = limits.bar_floor
    known = [
        prices
        for prices in (memory.trades if memory.trades.accepted else memory.mids, memory.fetched)
        if prices.accepted
    ]
    if not known or any(p.is_near(tick.price, floor, limits, tick.ts_event) for p in known):
        return False
    return not memory.fetched.confirms(tick.price, floor, limits, proven=True)


def _is_outlier(
    price: float,
    own: PriceMemory,
    other: PriceMemory,
    limits: QualityLimits,
    floor: float,
    ts: int = 0,
) -> bool:
    if own.accepted:
        return own.is_outlier(price, floor, limits, ts)
    # The first of a kind are judged by what else has a price, and released by each other.
    judged = other.is_outlier(price, floor, limits, ts)
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
