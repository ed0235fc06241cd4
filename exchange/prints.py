"""What a price source tells of a symbol at a moment; the frames and quotes are made of it."""

from typing import NamedTuple

__all__ = ["CRYPTO", "EQUITY", "ETF", "INDEX", "POST", "PRE", "REGULAR", "Print"]

SECOND = 1_000_000_000
MINUTE = 60 * SECOND

# Yahoo's market_hours and quote_type.
PRE, REGULAR, POST = 0, 1, 2
EQUITY, INDEX, ETF, CRYPTO = 8, 9, 20, 41


class Print(NamedTuple):
    """The state of a symbol right after a price was seen."""

    symbol: str
    ts: int  # venue time, ns
    price: float
    day_volume: int  # so far today; crypto: in US dollars
    day_open: float
    day_high: float
    day_low: float
    previous_close: float
    market_hours: int
    quote_type: int
    exchange: str  # Yahoo's code
    extreme: bool  # this price is a new high or low of the day
