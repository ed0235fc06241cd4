"""When Tokyo trades: the phases of each day, by the exchange's calendar.

Hours, holidays and half-days come from `models.calendars`. Since 2024-11-05 the afternoon
ends at 15:30 instead of 15:00, and continuous trading five minutes before, for a closing
auction (JPX, "Extension of trading hours and closing auction"). Times are UNIX ns UTC.
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from models.calendars import exchange_hours
from models.tokyo.rules import MINUTE, TokyoError

CALENDAR = "XTKS"
FIRST_DAY = date(2000, 1, 4)  # simulated days begin here
LAST_YEAR = 2099  # the calendar knows no equinoxes, and thus no holidays, beyond
_CLOSING_AUCTION = date(2024, 11, 5)
_PRE_CLOSE = 5 * MINUTE
_PRE_OPEN = 60 * MINUTE  # orders are taken from 08:00
_TOKYO = timedelta(hours=9)  # Japan has no summer time


class Phase(StrEnum):
    """What the exchange does at a time."""

    PRE_OPEN = "pre_open"  # takes orders, matches none
    MORNING = "morning"
    LUNCH = "lunch"
    AFTERNOON = "afternoon"
    PRE_CLOSE = "pre_close"  # takes orders for the closing auction, matches none
    CLOSED = "closed"


class Day(NamedTuple):
    """The hours of one trading day; where there is no afternoon, lunch is None."""

    on: date
    pre_open: int
    opens: int
    lunch: tuple[int, int] | None
    continuous_until: int  # before `closes` where a closing auction takes orders first
    closes: int

    @property
    def phases(self) -> tuple[tuple[int, Phase], ...]:
        """When each phase begins, in order."""
        found = [(self.pre_open, Phase.PRE_OPEN), (self.opens, Phase.MORNING)]
        if self.lunch is not None:
            found += [(self.lunch[0], Phase.LUNCH), (self.lunch[1], Phase.AFTERNOON)]
        if self.continuous_until < self.closes:
            found.append((self.continuous_until, Phase.PRE_CLOSE))
        return (*found, (self.closes, Phase.CLOSED))

    @property
    def continuous(self) -> tuple[tuple[int, int], ...]:
        """The spans of continuous trading, [from, until)."""
        if self.lunch is None:
            return ((self.opens, self.continuous_until),)
        return ((self.opens, self.lunch[0]), (self.lunch[1], self.continuous_until))


def tokyo_date(ts: int) -> date:
    """Return the date in Tokyo at a time."""
    return (datetime.fromtimestamp(ts // 1_000_000_000, UTC) + _TOKYO).date()


@lru_cache(maxsize=4)
def trading_days(decade: int) -> dict[date, Day]:
    """Return every trading day from 2000 to the end of a decade, such as 202, in order."""
    # A month more, so that the last session is known to be a year's last.
    last = date(min(decade * 10 + 9, LAST_YEAR), 12, 31)
    hours = exchange_hours(CALENDAR, FIRST_DAY - timedelta(30), last + timedelta(31))
    days = [_day(spans) for spans in hours]
    return {day.on: day for day in days if FIRST_DAY <= day.on <= last}


def trading_day(on: date) -> Day | None:
    """Return the hours of a date, or None where Tokyo is closed that day.

    Raises:
        TokyoError: The date is before 2000 or after 2099.
    """
    if not FIRST_DAY.year <= on.year <= LAST_YEAR:
        years = f"{FIRST_DAY.year} to {LAST_YEAR}"
        raise TokyoError(f"Tokyo is simulated from {years}; {on} is outside.")
    return trading_days(on.year // 10).get(on)


def next_day(after: date) -> Day:
    """Return the first trading day later than a date."""
    while True:
        after += timedelta(1)
        day = trading_day(after)
        if day is not None:
            return day


def phase_at(ts: int) -> Phase:
    """Return what the exchange does at a time.

    >>> noon = 1_730_775_600_000_000_000  # 2024-11-05 12:00 in Tokyo
    >>> phase_at(noon).value, phase_at(noon + 206 * MINUTE).value
    ('lunch', 'pre_close')
    """
    day = trading_day(tokyo_date(ts))
    phase = Phase.CLOSED
    for begins, name in () if day is None else day.phases:
        if ts >= begins:
            phase = name
    return phase


def next_start(ts: int) -> int:
    """Return when continuous trading begins next, later than `ts`."""
    on = tokyo_date(ts)
    day = trading_day(on) or next_day(on)
    while True:
        for begins, _ in day.continuous:
            if begins > ts:
                return begins
        day = next_day(day.on)


def trades_between(after: int, until: int) -> bool:
    """Say whether Tokyo trades at any time in (after, until]."""
    day = trading_day(tokyo_date(after))
    if day is not None and after < day.closes and until >= day.opens:
        return True
    return next_start(after) <= until


def _day(spans: tuple[tuple[int, int], ...]) -> Day:
    opens, closes = spans[0][0], spans[-1][1]
    on = tokyo_date(opens)
    lunch = (spans[0][1], spans[1][0]) if len(spans) > 1 else None
    ends_early = _PRE_CLOSE if on >= _CLOSING_AUCTION else 0
    return Day(on, opens - _PRE_OPEN, opens, lunch, closes - ends_early, closes)
