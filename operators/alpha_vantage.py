"""Decode Alpha Vantage's GLOBAL_QUOTE answers into ticks.

An entry is `{"symbol": <ours>, "body": <the answer as it came>}`. The venue tells the trading
day of a quote and no time, so a tick happens when it is received. A quote of a day that is
over everywhere is rejected as stale: free keys get the close of the day before, which would
otherwise pass as the price of now.
"""

from datetime import UTC, date, datetime

import msgspec

from operators.checks import (
    MAX_PRICE,
    MAX_SIZE,
    UNDECODABLE,
    MalformedError,
    checked_time,
    number,
)
from operators.messages import SECOND, Raw, Reason, Tick

VENUE = "alpha_vantage"

_HOUR = 3600 * SECOND
# A date lasts from its beginning furthest east (UTC+14) to its end furthest west (UTC-12).
_BEGINS = -14 * _HOUR
_ENDS = (24 + 12) * _HOUR


class _Entry(msgspec.Struct, gc=False):
    symbol: str
    body: dict[str, msgspec.Raw]


class _Quote(msgspec.Struct, gc=False):
    price: str = msgspec.field(name="05. price")
    day: str = msgspec.field(name="07. latest trading day")
    volume: str | None = msgspec.field(name="06. volume", default=None)


_ENTRY = msgspec.json.Decoder(_Entry).decode
_QUOTE = msgspec.json.Decoder(_Quote).decode


def decode(raw: Raw) -> list[Tick]:
    """Decode one answer. Raises MalformedError for one without use.

    >>> quote = b'{"05. price":"187.5","06. volume":"900","07. latest trading day":"2024-08-08"}'
    >>> raw = Raw(offset=0, path="a", kind="alpha_vantage", ts_init=1723140000 * 10**9,
    ...           payload=b'{"symbol":"IBM","body":{"Global Quote":' + quote + b"}}")
    >>> [tick] = decode(raw)
    >>> tick.symbol, tick.price, tick.day_volume, tick.ts_event == raw.ts_init
    ('IBM', 187.5, 900.0, True)
    """
    try:
        entry = _ENTRY(raw.payload)
        body = next((v for k, v in entry.body.items() if k.startswith("Global Quote")), None)
        if body is None:
            raise MalformedError(Reason.BAD_TYPE)
        quote = _QUOTE(body)
    except msgspec.ValidationError:
        raise MalformedError(Reason.BAD_TYPE) from None
    except UNDECODABLE:
        raise MalformedError(Reason.BAD_JSON) from None
    price = number(quote.price)
    volume = None if quote.volume is None else number(quote.volume)
    # Written so that NaN fails too.
    if not (0.0 < price <= MAX_PRICE and (volume is None or 0.0 <= volume <= MAX_SIZE)):
        raise MalformedError(Reason.BAD_VALUE)
    _check_day(quote.day, raw.ts_init)
    return [
        Tick(
            symbol=entry.symbol,
            venue=VENUE,
            price=price,
            size=0.0,
            ts_event=checked_time(raw.ts_init),
            ts_init=raw.ts_init,
            offset=raw.offset,
            day_volume=volume,
        )
    ]


def _check_day(day: str, now: int) -> None:
    """Refuse a quote whose trading day cannot be that of `now` (ns) in any time zone."""
    try:
        found = date.fromisoformat(day)
    except ValueError:
        raise MalformedError(Reason.BAD_TYPE) from None
    midnight = int(datetime(found.year, found.month, found.day, tzinfo=UTC).timestamp()) * SECOND
    if now >= midnight + _ENDS:
        raise MalformedError(Reason.STALE)
    if now < midnight + _BEGINS:
        raise MalformedError(Reason.FUTURE)
