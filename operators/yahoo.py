"""Decode Yahoo's streaming frames into ticks and quotes.

The stream tells the last price and the volume of the day so far, not single trades: the size
of a tick is the difference of two day volumes, which quality takes. `market_hours` is not
looked at. Zero is absent on the wire, so a missing value reads "before the session"; whether a
time is in session is the calendar's to say.
"""

from collections.abc import Mapping

from operators.checks import MAX_PRICE, MAX_SIZE, MILLISECOND, MalformedError, checked_time
from operators.messages import Quote, Raw, Reason, Rejection, Skipped, Tick
from operators.yahoo_pricing import HEARTBEAT, PRICING, Pricing, decode_pricing, read_frame

VENUE = "yahoo"

_CRYPTOCURRENCY = 41
# EQUITY, INDEX, CURRENCY, FUTURE, ETF: what has a price of its own that moves bars. Options are
# not modelled; their contracts would be another universe.
_TRADED = frozenset({8, 9, 14, 18, 20, _CRYPTOCURRENCY})
_SKIPPED = {HEARTBEAT: "yahoo_heartbeat", 13: "yahoo_option"}
_OTHER = "yahoo_other_type"  # one name for all: hostile numbers must not make endless counts
_MAX_KIND = 32
_PAYLOAD_KEPT = 4096


def decode(
    raw: Raw, names: Mapping[str, str] | None = None
) -> list[Tick | Quote | Skipped | Rejection]:
    """Decode one frame: a tick, and a quote behind it where bid and ask are told.

    `names` gives our symbol by Yahoo's; one that is not in it keeps Yahoo's name. A quote that
    is impossible is rejected by itself, since the price beside it may be right. Raises
    MalformedError for a frame without use.

    >>> frame = b"CgRBQVBMFUjhmEMY4Jbi68lnKgNOTVMwCDgARTxEgT5lACBFP9gBBA=="
    >>> raw = Raw(offset=0, path="yahoo", kind="yahoo", ts_init=1779437423 * 10**9, payload=frame)
    >>> [tick] = decode(raw)
    >>> tick.symbol, tick.price, tick.day_volume, tick.ts_event
    ('AAPL', 305.76, None, 1779437422000000000)
    """
    frame = read_frame(raw.payload)
    if frame.kind != PRICING:
        return [_skipped(raw, _kind_of(frame.kind))]
    pricing = decode_pricing(frame.message)
    if pricing.quote_type not in _TRADED and (pricing.id or pricing.quote_type):
        return [_skipped(raw, _SKIPPED.get(pricing.quote_type, _OTHER))]
    if not pricing.id:
        raise MalformedError(Reason.BAD_TYPE)
    symbol = pricing.id if names is None else names.get(pricing.id, pricing.id)
    tick = _tick(raw, pricing, symbol)
    quote = _quote(raw, pricing, symbol)
    return [tick] if quote is None else [tick, quote]


def _kind_of(kind: str) -> str:
    """Return what a frame of another type is counted as."""
    plain = kind.isascii() and kind.isidentifier() and len(kind) <= _MAX_KIND
    return f"yahoo_{kind}" if plain else "yahoo_other_frame"


def _skipped(raw: Raw, kind: str) -> Skipped:
    return Skipped(kind=kind, ts_init=raw.ts_init, offset=raw.offset)


def _tick(raw: Raw, pricing: Pricing, symbol: str) -> Tick:
    # Of a cryptocurrency the "day" is the last 24 hours: a sum that can fall.
    volume = pricing.day_volume
    if not volume and pricing.quote_type == _CRYPTOCURRENCY:
        volume = pricing.vol_24hr
    # Written so that NaN fails too.
    if not (0.0 < pricing.price <= MAX_PRICE and 0 <= volume <= MAX_SIZE):
        raise MalformedError(Reason.BAD_VALUE)
    return Tick(
        symbol=symbol,
        venue=VENUE,
        price=pricing.price,
        size=0.0,
        ts_event=checked_time(pricing.time * MILLISECOND),
        ts_init=raw.ts_init,
        offset=raw.offset,
        day_volume=float(volume) if volume else None,
    )


def _quote(raw: Raw, pricing: Pricing, symbol: str) -> Quote | Rejection | None:
    if pricing.bid == 0.0 or pricing.ask == 0.0:  # absent
        return None
    if not (
        0.0 < pricing.bid <= MAX_PRICE
        and 0.0 < pricing.ask <= MAX_PRICE
        and 0 <= pricing.bid_size <= MAX_SIZE
        and 0 <= pricing.ask_size <= MAX_SIZE
    ):
        return Rejection(
            reason=Reason.BAD_VALUE,
            payload=raw.payload[:_PAYLOAD_KEPT],
            ts_init=raw.ts_init,
            offset=raw.offset,
            symbol=symbol,
        )
    return Quote(
        symbol=symbol,
        venue=VENUE,
        bid=pricing.bid,
        bid_size=float(pricing.bid_size),
        ask=pricing.ask,
        ask_size=float(pricing.ask_size),
        ts_event=pricing.time * MILLISECOND,
        ts_init=raw.ts_init,
        offset=raw.offset,
    )
