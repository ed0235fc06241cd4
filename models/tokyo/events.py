"""What the simulated exchange tells; every message says of itself that it is simulated.

Prices are yen, sizes shares, times UNIX ns UTC. `session` is the trading day's date in Tokyo.
The times of a stock's trades rise strictly, so that a time names a trade.
"""

from typing import Literal, TypeAlias

import msgspec


class _Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    simulated: Literal[True]
    code: str
    session: str
    ts: int


class Trade(_Event, frozen=True, kw_only=True, gc=False, tag="trade"):
    """An execution; `id` counts the stock's trades of the session from 1.

    `auction` says how it came about where not continuously: "opening", "afternoon_opening",
    "morning_close", "closing", "special_quote" (matched out of one), "special_execution" (at
    the closing auction's bound) or "allotment" (at the daily limit, shared out).
    """

    id: int
    price: float
    size: int
    side: Literal["buy", "sell"] | None = None  # the aggressor's; an auction has none
    auction: str | None = None


class Quote(_Event, frozen=True, kw_only=True, gc=False, tag="quote"):
    """The best bid and ask of the book."""

    bid: float
    bid_size: int
    ask: float
    ask_size: int


class SpecialQuote(_Event, frozen=True, kw_only=True, gc=False, tag="special_quote"):
    """Trading waits: orders of one side would move the price further than allowed at once."""

    side: Literal["buy", "sell"]
    price: float
    size: int  # shares wanted that nobody offers
    renewal: int  # how many times it has moved on since it was first shown


class PhaseChange(_Event, frozen=True, kw_only=True, gc=False, tag="phase"):
    """The exchange enters a phase of the day."""

    phase: str


class Limit(_Event, frozen=True, kw_only=True, gc=False, tag="limit"):
    """The day's limits, told before the open, and once more when a price reaches one."""

    base: float
    lower: float
    upper: float
    reached: Literal["lower", "upper"] | None = None


Event: TypeAlias = Trade | Quote | SpecialQuote | PhaseChange | Limit
