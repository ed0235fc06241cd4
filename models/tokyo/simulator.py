"""The simulated market: events of any stock from any time on, the same for the same seed.

What a stock does on a date depends on (seed, code, date) and nothing else: not on when one
began to look, nor on which other stocks are looked at.
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from heapq import merge
from threading import Lock

from models.tokyo.days import Chain, DayPlan
from models.tokyo.events import Event
from models.tokyo.exchange_day import ExchangeDay
from models.tokyo.sessions import next_day, tokyo_date


class Market:
    """Tokyo under one seed; any thread may ask, and each may follow streams of its own.

    >>> market = Market(seed=1)
    >>> opening = 1_730_764_800_000_000_000  # 2024-11-05 09:00 in Tokyo
    >>> [event.ts for event in market.events("7203", opening - 1, opening)]
    [1730764800000000000]
    """

    def __init__(self, seed: int) -> None:
        """Make the market; stocks are made when they are first asked for."""
        self.seed = seed
        self._chains: dict[str, Chain] = {}
        self._lock = Lock()

    def plan(self, code: str, on: date) -> DayPlan | None:
        """Return base price, limits and hours of a stock's day; None where Tokyo is closed.

        Raises:
            TokyoError: The code is not of Tokyo's form, or the date outside 2000 to 2099.
        """
        with self._lock:
            chain = self._chains.get(code)
            if chain is None:
                chain = self._chains[code] = Chain(self.seed, code)
            return chain.plan(on)

    def day(self, code: str, on: date, *, quotes: bool = True, after: int = 0) -> Iterator[Event]:
        """Tell a stock's day, from the events later than `after` (ns) on; none if closed.

        Leaving out quotes, or beginning later, changes nothing of the rest.
        """
        plan = self.plan(code, on)
        if plan is not None:
            yield from ExchangeDay(self.seed, plan, quotes=quotes, after=after).events()

    def events(
        self, code: str, after: int, until: int | None = None, *, quotes: bool = True
    ) -> Iterator[Event]:
        """Tell what happens to a stock in (after, until], day after day; without end if None."""
        on = tokyo_date(after)
        while True:
            for event in self.day(code, on, quotes=quotes, after=after):
                if until is not None and event.ts > until:
                    return
                yield event
            following = next_day(on)
            if until is not None and following.pre_open > until:
                return
            on = following.on

    def all_events(
        self, codes: Iterable[str], after: int, until: int, *, quotes: bool = True
    ) -> Iterator[Event]:
        """Tell what happens to several stocks, in order of time and then of code."""
        streams = [self.events(code, after, until, quotes=quotes) for code in sorted(set(codes))]
        return merge(*streams, key=lambda event: (event.ts, event.code))


def days_between(first: date, last: date) -> list[date]:
    """Return the trading days of [first, last]."""
    found: list[date] = []
    day = next_day(first - timedelta(1))
    while day.on <= last:
        found.append(day.on)
        day = next_day(day.on)
    return found
