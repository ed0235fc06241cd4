"""Decode the simulated Tokyo feed, whose form is our own.

One JSON object a message, with `"feed":"sbi"` and `"simulated":true`; what does not say so is
refused, so that nothing else passes for it and it passes for nothing else.

Trades carry no `trade_id`. The feed counts the trades of each session from 1, so that the
count falls back every morning; ids that grow across days would have to leap overnight, and
quality would report the leap as missing trades. Nor are they needed: the feed makes its
messages itself, knows which ones it did not deliver, and writes those holes into the log.
"""

from math import isfinite
from typing import Literal, TypeAlias

import msgspec

from operators.checks import (
    MAX_PRICE,
    MAX_SIZE,
    UNDECODABLE,
    MalformedError,
    checked_time,
)
from operators.messages import Quote, Raw, Reason, Side, Skipped, Tick

VENUE = "sbi"

# They end a session, and are stamped with its end, which is where the next bar would begin.
_END_OF_SESSION = frozenset({"morning_close", "closing", "special_execution", "allotment"})


class _Message(msgspec.Struct, gc=False, tag_field="type"):
    feed: str
    simulated: bool
    symbol: str
    ts: int


class _Trade(_Message, gc=False, tag="trade"):
    price: float
    size: int
    side: Literal["buy", "sell"] | None = None
    auction: str | None = None
    backfilled: bool = False


class _Quote(_Message, gc=False, tag="quote"):
    bid: float
    bid_size: int
    ask: float
    ask_size: int


class _SpecialQuote(_Message, gc=False, tag="special_quote"):
    pass


class _Phase(_Message, gc=False, tag="phase"):
    pass


class _Limit(_Message, gc=False, tag="limit"):
    pass


_Any: TypeAlias = _Trade | _Quote | _SpecialQuote | _Phase | _Limit
_DECODE = msgspec.json.Decoder(_Any).decode
_SKIPPED = {_SpecialQuote: "sbi_special_quote", _Phase: "sbi_phase", _Limit: "sbi_limit"}


def decode(raw: Raw) -> list[Tick | Quote | Skipped]:
    """Decode one message: a trade, a quote, or what is only counted, by its type.

    The auction that ends a session is stamped 1 ns before it: bars cover [open, close), and
    its trades belong to the last one.

    Raises:
        MalformedError: It cannot be used; BAD_VALUE too where it does not say "simulated".

    >>> line = (b'{"feed":"sbi","symbol":"7203.T","type":"trade","simulated":true,"code":"7203",'
    ...         b'"session":"2024-11-05","ts":1730788200000000000,"id":912,"price":2701.5,'
    ...         b'"size":300,"auction":"closing"}')
    >>> [tick] = decode(Raw(offset=0, path="sbi", kind="sbi", ts_init=1, payload=line))
    >>> tick.symbol, tick.venue, tick.price, tick.size, tick.ts_event
    ('7203.T', 'sbi', 2701.5, 300.0, 1730788199999999999)
    """
    try:
        found: _Any = _DECODE(raw.payload)
    except msgspec.ValidationError:
        raise MalformedError(Reason.BAD_TYPE) from None
    except UNDECODABLE:
        raise MalformedError(Reason.BAD_JSON) from None
    if not found.simulated or found.feed != VENUE or not found.symbol:
        raise MalformedError(Reason.BAD_VALUE)
    ts_event = checked_time(found.ts)
    if isinstance(found, _Trade):
        return [_tick(raw, found, ts_event)]
    if isinstance(found, _Quote):
        return [_quote(raw, found, ts_event)]
    return [Skipped(kind=_SKIPPED[type(found)], ts_init=raw.ts_init, offset=raw.offset)]


def _tick(raw: Raw, found: _Trade, ts_event: int) -> Tick:
    return Tick(
        symbol=found.symbol,
        venue=VENUE,
        price=_checked(found.price, MAX_PRICE),
        size=_checked(float(found.size), MAX_SIZE),
        ts_event=ts_event - (found.auction in _END_OF_SESSION),
        ts_init=raw.ts_init,
        offset=raw.offset,
        side=None if found.side is None else Side(found.side),
        backfilled=found.backfilled,
    )


def _quote(raw: Raw, found: _Quote, ts_event: int) -> Quote:
    return Quote(
        symbol=found.symbol,
        venue=VENUE,
        bid=_checked(found.bid, MAX_PRICE),
        bid_size=_checked(float(found.bid_size), MAX_SIZE),
        ask=_checked(found.ask, MAX_PRICE),
        ask_size=_checked(float(found.ask_size), MAX_SIZE),
        ts_event=ts_event,
        ts_init=raw.ts_init,
        offset=raw.offset,
    )


def _checked(value: float, most: float) -> float:
    if isfinite(value) and 0.0 < value <= most:
        return value
    raise MalformedError(Reason.BAD_VALUE)
