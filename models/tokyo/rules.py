"""What the Tokyo Stock Exchange allows: tick sizes, daily limits, special quotes and lots.

Prices are whole tenths of a yen here, the finest tick there is, so that the grid is exact.

Sources, as published by Japan Exchange Group (JPX) and brokers who repeat it:

* ticks: "Trading Rules of Domestic Stocks, Tick Size"; the finer table holds for TOPIX100
  constituents since 2015-09-24 and for all of TOPIX500 since 2023-06-05; from 2014-07-22 the
  TOPIX100 had its forerunner (its first phase, from 2014-01-14, is not modelled);
* daily limits: ".../domestic/06.html"; widened after limit days without trading, since
  2020-08-03 on the third day and fourfold, before on the fourth day and twofold;
* special quotes: ".../domestic/05.html"; renewed every 3 minutes since 2011-05-09, before
  every 5;
* the closing auction matches within twice the renewal interval of the last price; since
  2024-11-05 it prints at the bound where it would match beyond ("special execution").
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

YEN = 10  # in tenths
LOT = 100  # shares; all domestic stocks since 2018-10-01, taken for granted before
MINUTE = 60_000_000_000


class TokyoError(ValueError):
    """A code or date that Tokyo does not trade; the text says what is expected."""


class Index(StrEnum):
    """The index a stock belongs to, which decides its tick table."""

    TOPIX100 = "topix100"
    TOPIX500 = "topix500"  # its TOPIX Mid400 part
    OTHER = "other"


class Band(NamedTuple):
    """Prices above the band before, up to and including `upto`, move in steps of `tick`."""

    upto: int
    tick: int


_ENDLESS = 10**12
# Up to (yen): the tick of most stocks, of TOPIX500, and of TOPIX100 in 2014 and 2015.
_TICKS = (
    (1_000, 1, 0.1, 0.1),
    (3_000, 1, 0.5, 0.5),
    (5_000, 5, 1, 0.5),
    (10_000, 10, 1, 1),
    (30_000, 10, 5, 5),
    (50_000, 50, 10, 5),
    (100_000, 100, 10, 10),
    (300_000, 100, 50, 50),
    (500_000, 500, 100, 50),
    (1_000_000, 1_000, 100, 100),
    (3_000_000, 1_000, 500, 500),
    (5_000_000, 5_000, 1_000, 500),
    (10_000_000, 10_000, 1_000, 1_000),
    (30_000_000, 10_000, 5_000, 5_000),
    (50_000_000, 50_000, 10_000, 5_000),
    (_ENDLESS, 100_000, 10_000, 10_000),
)
STANDARD, FINE, FINE_2014 = (
    tuple(Band(row[0] * YEN, round(row[column] * YEN)) for row in _TICKS) for column in (1, 2, 3)
)

# Base price below (yen): daily limit, renewal interval of special quotes.
_LIMITS = (
    (100, 30, 5),
    (200, 50, 5),
    (500, 80, 8),
    (700, 100, 10),
    (1_000, 150, 15),
    (1_500, 300, 30),
    (2_000, 400, 40),
    (3_000, 500, 50),
    (5_000, 700, 70),
    (7_000, 1_000, 100),
    (10_000, 1_500, 150),
    (15_000, 3_000, 300),
    (20_000, 4_000, 400),
    (30_000, 5_000, 500),
    (50_000, 7_000, 700),
    (70_000, 10_000, 1_000),
    (100_000, 15_000, 1_500),
    (150_000, 30_000, 3_000),
    (200_000, 40_000, 4_000),
    (300_000, 50_000, 5_000),
    (500_000, 70_000, 7_000),
    (700_000, 100_000, 10_000),
    (1_000_000, 150_000, 15_000),
    (1_500_000, 300_000, 30_000),
    (2_000_000, 400_000, 40_000),
    (3_000_000, 500_000, 50_000),
    (5_000_000, 700_000, 70_000),
    (7_000_000, 1_000_000, 100_000),
    (10_000_000, 1_500_000, 150_000),
    (15_000_000, 3_000_000, 300_000),
    (20_000_000, 4_000_000, 400_000),
    (30_000_000, 5_000_000, 500_000),
    (50_000_000, 7_000_000, 700_000),
    (_ENDLESS, 10_000_000, 1_000_000),
)
_BELOW = [row[0] * YEN for row in _LIMITS]


def tick_table(index: Index, on: date) -> tuple[Band, ...]:
    """Return the tick table of a stock of this index on a day."""
    if index is Index.TOPIX500:
        return FINE if on >= date(2023, 6, 5) else STANDARD
    if index is Index.TOPIX100:
        if on >= date(2015, 9, 24):
            return FINE
        return FINE_2014 if on >= date(2014, 7, 22) else STANDARD
    return STANDARD


def tick_size(price: int, table: Sequence[Band]) -> int:
    """Return the tick at `price`, both in tenths of a yen.

    >>> tick_size(3_000 * YEN, FINE), tick_size(3_001 * YEN, FINE), tick_size(700 * YEN, STANDARD)
    (5, 10, 10)
    """
    return table[bisect_left(table, price, key=lambda band: band.upto)].tick


def ladder(low: int, high: int, table: Sequence[Band]) -> list[int]:
    """Return every price on the grid in [low, high], ascending.

    >>> ladder(2_999 * YEN, 3_002 * YEN, FINE)
    [29990, 29995, 30000, 30010, 30020]
    """
    prices: list[int] = []
    for below, band in pairwise((Band(0, 0), *table)):
        first = max(-(-max(low, 1) // band.tick) * band.tick, below.upto + band.tick)
        prices.extend(range(first, min(high, band.upto) + 1, band.tick))
    return prices


def nearest(price: float, table: Sequence[Band]) -> int:
    """Return the price on the grid nearest to `price` (tenths of a yen), at least one tick."""
    tick = tick_size(max(1, round(price)), table)
    return max(tick, round(price / tick) * tick)


def daily_limit(base: int) -> int:
    """Return how far a price may go from its base price in a day."""
    return _LIMITS[bisect_right(_BELOW, base)][1] * YEN


def renewal_interval(price: int) -> int:
    """Return how far from `price`, the last trade or special quote, the next trade may be."""
    return _LIMITS[bisect_right(_BELOW, price)][2] * YEN


def limits(base: int, table: Sequence[Band], *, down: int = 1, up: int = 1) -> tuple[int, int]:
    """Return the lowest and highest price of a day; `down` and `up` widen the limit.

    A bound between two ticks moves inwards. (JPX publishes the bounds of each stock and day,
    and not how it rounds them.)

    >>> limits(1_064 * YEN, STANDARD, up=4)
    (7640, 22640)
    """
    reach = daily_limit(base)
    lowest, highest = max(table[0].tick, base - down * reach), base + up * reach
    tick_low, tick_high = tick_size(lowest, table), tick_size(highest, table)
    return -(-lowest // tick_low) * tick_low, highest // tick_high * tick_high


def renewal_time(on: date) -> int:
    """Return how long a special quote stands before it moves on (ns)."""
    return (3 if on >= date(2011, 5, 9) else 5) * MINUTE


def widening(on: date) -> tuple[int, int]:
    """Return after how many limit days without trading the limit is widened, and how much."""
    return (2, 4) if on >= date(2020, 8, 3) else (3, 2)
