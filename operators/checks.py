"""What a number, a time and a bar must be before anything is made of them."""

from math import isfinite

import msgspec

from operators.messages import Bar, BarQuality, Reason

MILLISECOND = 1_000_000
EARLIEST = 946_684_800_000_000_000  # 2000-01-01: a time before is rubbish
LATEST = 7_258_118_400_000_000_000  # 2200-01-01: so is one from here on
MAX_ID = 2**63 - 1
# Beyond these no market trades, and sums over a bar could overflow.
MAX_PRICE = 1e12
MAX_SIZE = 1e15
MAX_TRADES = 2**40  # of one bar; the sums of millions of such bars still fit the store

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class MalformedError(Exception):
    """An entry that becomes a `Rejection`; never leaves normalise."""

    def __init__(self, reason: Reason) -> None:
        """Take the rejection's reason."""
        self.reason = reason


class BarEntry(msgspec.Struct, gc=False, omit_defaults=True):
    """A bar as the log holds it, unchecked; prices and volume as JSON numbers."""

    symbol: str
    interval: int
    ts_close: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float | None = None
    spread: float | None = None
    imbalance: float | None = None


def number(text: str) -> float:
    """Return the number that a venue wrote as a string; it may be infinite or NaN."""
    try:
        value = float(text)
    except ValueError:
        raise MalformedError(Reason.BAD_TYPE) from None
    if "_" in text:  # Python reads 1_000, no venue writes it
        raise MalformedError(Reason.BAD_TYPE)
    return value


def checked_time(ts: int) -> int:
    """Return `ts` (ns) if it lies in this age."""
    if EARLIEST <= ts < LATEST:
        return ts
    raise MalformedError(Reason.BAD_VALUE)


def checked_bar(found: BarEntry, trades: int = 0, quality: BarQuality = BarQuality.OBSERVED) -> Bar:
    """Return the bar if its numbers are possible, without its place in a session."""
    low, high = found.low, found.high
    numbers = (found.open, high, low, found.close, found.volume)
    optional = (found.vwap, found.spread, found.imbalance)
    # Asked apart: min() and max() below overlook a NaN.
    if not (
        all(map(isfinite, numbers))
        and all(value is None or isfinite(value) for value in optional)
        and 0.0 < low <= min(found.open, found.close)
        and max(found.open, found.close) <= high <= MAX_PRICE
        and 0.0 <= found.volume <= MAX_SIZE
        and 0 <= trades <= MAX_TRADES
        and found.interval > 0
        and EARLIEST <= found.ts_close < LATEST
        and found.ts_close % found.interval == 0
        and (found.spread is None or 0.0 <= found.spread <= MAX_PRICE)
        and (found.imbalance is None or -1.0 <= found.imbalance <= 1.0)
    ):
        raise MalformedError(Reason.BAD_VALUE)
    vwap = found.vwap
    # COIN-M counts volume in contracts, so that turnover over volume is no price there.
    if vwap is None or not low <= vwap <= high:
        vwap = (high + low + found.close) / 3.0
    return Bar(
        symbol=found.symbol,
        interval=found.interval,
        ts_close=found.ts_close,
        open=found.open,
        high=high,
        low=low,
        close=found.close,
        volume=found.volume,
        trades=trades,
        vwap=vwap,
        spread=found.spread,
        imbalance=found.imbalance,
        quality=quality,
    )
