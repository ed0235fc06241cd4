"""Feeds that break: a market's messages as they come through holes, and what is known at last."""

import msgspec

from operators.messages import SECOND, Bar, Clock, Hole, HoleState, NoBar, Repaired, Switch
from tests.support import clock, tick

OPEN, ENDED, FILLED = HoleState.OPEN, HoleState.ENDED, HoleState.FILLED
UNFILLED, COVERED = HoleState.UNFILLED, HoleState.COVERED


def at(seconds, price=100.0, **fields):
    """Return a trade `seconds` into the market's time."""
    return tick(price=price, ts_event=round(seconds * SECOND), **fields)


def fetched(seconds, price=100.0, **fields):
    """Return a trade that was asked for later."""
    return at(seconds, price, backfilled=True, **fields)


def closed(seconds, **fields):
    """Return a Clock of the symbol."""
    return clock(ts_event=round(seconds * SECOND), symbol="BTCUSDT", **fields)


def clocks(first, last, **fields):
    """Return the Clocks of whole seconds, both inclusive."""
    return [closed(n, **fields) for n in range(first, last + 1)]


def hole(ts_from, ts_to=None, state=OPEN, feed="binance", **fields):
    """Return what a feed tells of a hole; times in seconds."""
    return Hole(
        **{
            "feed": feed,
            "symbol": "BTCUSDT",
            "cause": "cut",
            "ts_from": round(ts_from * SECOND),
            "ts_to": None if ts_to is None else round(ts_to * SECOND),
            "state": state,
            "found_at": round(ts_from * SECOND),
        }
        | fields
    )


def switch(seconds, before="binance", after="yahoo", **fields):
    """Return the change of a feed."""
    at_ns = round(seconds * SECOND)
    return Switch(
        **{
            "symbol": "BTCUSDT",
            "before": before,
            "after": after,
            "cause": "cut",
            "ts_event": at_ns,
        }
        | fields
    )


def known(out):
    """Return the bars as they are known at last, by the second of their close."""
    found = {}
    for message in out:
        bars = message.bars if isinstance(message, Repaired) else (message,)
        found |= {bar.ts_close // SECOND: bar for bar in bars if isinstance(bar, Bar)}
    return dict(sorted(found.items()))


def through(trades, holes, until, delay=0.05, lateness=0.25):
    """Return a market's messages in order of arrival, as holes let them through.

    `trades` are live ones; those in a hole (begin, seen, end, filled), in seconds, come when
    it is filled. The hole is told when it is seen.
    """
    events = []

    def come(when, message):
        events.append((round(when * SECOND), len(events), message))

    for begin, seen, end, filled in holes:
        come(seen, hole(begin))
        come(end, hole(begin, end, ENDED))
        come(filled, hole(begin, end, FILLED))
    for n in range(1, until + 1):
        come(n + lateness, closed(n))
    for trade in trades:
        when = trade.ts_event / SECOND + delay
        missed = [h for h in holes if h[0] < when <= h[2]]
        if missed:
            end, filled = missed[0][2:]
            # Spread over the time that fetching takes, the last ones first.
            share = (trade.offset * 7 % 10) / 10
            late = msgspec.structs.replace(trade, backfilled=True)
            come(end + (filled - end) * share, late)
        else:
            come(when, trade)
    # Of equal times holes come before trades and FILLED last, as a feed writes them.
    rank = {Hole: 0, Clock: 1}
    events.sort(key=lambda e: (e[0], _last(e[2]), rank.get(type(e[2]), 2), e[1]))
    return [message for *_, message in events]


def _last(message):
    return isinstance(message, Hole) and message.state is FILLED


def answers(out):
    """Return what Clocks were answered with."""
    return [m for m in out if isinstance(m, Bar | NoBar)]
