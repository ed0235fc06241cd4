"""When Tokyo trades: months with holidays, the longer day of 2024, and half-days of old."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from models.calendars import sessions
from models.tokyo.rules import TokyoError
from models.tokyo.sessions import (
    Phase,
    next_day,
    next_start,
    phase_at,
    trades_between,
    trading_day,
)
from models.tokyo.simulator import days_between

SECOND = 10**9
MINUTE = 60 * SECOND


def at(text):
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Asia/Tokyo"))
    return int(moment.timestamp()) * SECOND


def clock(ts):
    return datetime.fromtimestamp(ts // SECOND, ZoneInfo("Asia/Tokyo")).strftime("%H:%M")


def phases(on):
    return [(clock(ts), phase.value) for ts, phase in trading_day(on).phases]


@pytest.mark.parametrize(
    ("first", "last", "closed"),
    [
        # Year's end: 30 December trades in full, 31 December to 3 January do not.
        (date(2024, 12, 28), date(2025, 1, 7), {29, 31, 1, 2, 3, 4, 5, 28}),
        # Culture Day on a Sunday, so the Monday: the longer day began on Tuesday the 5th.
        (date(2024, 11, 1), date(2024, 11, 8), {2, 3, 4}),
        # Golden Week.
        (date(2025, 4, 28), date(2025, 5, 9), {29, 3, 4, 5, 6}),
    ],
)
def test_holidays_are_closed(first, last, closed):
    span = [date.fromordinal(day) for day in range(first.toordinal(), last.toordinal() + 1)]

    open_days = days_between(first, last)

    assert open_days == [on for on in span if on.day not in closed]
    assert all(trading_day(on) is None for on in span if on.day in closed)


def test_day_with_a_closing_auction():
    assert phases(date(2024, 11, 5)) == [
        ("08:00", "pre_open"),
        ("09:00", "morning"),
        ("11:30", "lunch"),
        ("12:30", "afternoon"),
        ("15:25", "pre_close"),
        ("15:30", "closed"),
    ]


def test_day_before_the_closing_auction_came():
    assert phases(date(2024, 11, 1)) == [
        ("08:00", "pre_open"),
        ("09:00", "morning"),
        ("11:30", "lunch"),
        ("12:30", "afternoon"),
        ("15:00", "closed"),
    ]


def test_lunch_began_at_eleven_until_2011():
    assert ("11:00", "lunch") in phases(date(2011, 11, 18))
    assert ("11:30", "lunch") in phases(date(2011, 11, 21))


@pytest.mark.parametrize("on", [date(2008, 12, 30), date(2009, 1, 5), date(2004, 1, 5)])
def test_first_and_last_session_of_a_year_were_half_days(on):
    assert phases(on) == [("08:00", "pre_open"), ("09:00", "morning"), ("11:00", "closed")]


@pytest.mark.parametrize(
    "on", [date(2009, 12, 30), date(2010, 1, 4), date(2024, 12, 30), date(2025, 1, 6)]
)
def test_first_and_last_session_are_whole_days_since(on):
    assert trading_day(on).lunch is not None
    assert len(trading_day(on).continuous) == 2


def test_whole_day_outage_of_2020_is_closed():
    assert trading_day(date(2020, 10, 1)) is None


@pytest.mark.parametrize(
    ("time", "phase"),
    [
        ("2024-11-06 07:59:59", Phase.CLOSED),
        ("2024-11-06 08:00", Phase.PRE_OPEN),
        ("2024-11-06 09:00", Phase.MORNING),
        ("2024-11-06 11:29:59", Phase.MORNING),
        ("2024-11-06 11:30", Phase.LUNCH),
        ("2024-11-06 12:30", Phase.AFTERNOON),
        ("2024-11-06 15:25", Phase.PRE_CLOSE),
        ("2024-11-06 15:30", Phase.CLOSED),
        ("2024-11-04 10:00", Phase.CLOSED),
        ("2024-11-01 15:00", Phase.CLOSED),
    ],
)
def test_phase_at_a_time(time, phase):
    assert phase_at(at(time)) is phase


def test_next_start_leaps_over_lunch_night_and_holidays():
    assert next_start(at("2024-11-06 10:00")) == at("2024-11-06 12:30")
    assert next_start(at("2024-11-06 12:30")) == at("2024-11-07 09:00")
    assert next_start(at("2024-12-30 15:30")) == at("2025-01-06 09:00")
    assert next_day(date(2024, 12, 30)).on == date(2025, 1, 6)


def test_trades_between_two_times():
    assert not trades_between(at("2024-12-30 15:30"), at("2025-01-06 08:59"))
    assert trades_between(at("2024-12-30 15:30"), at("2025-01-06 09:00"))
    assert trades_between(at("2024-11-06 10:00"), at("2024-11-06 10:01"))


def test_years_out_of_reach_are_refused():
    with pytest.raises(TokyoError, match="1999"):
        trading_day(date(1999, 12, 30))


@pytest.mark.parametrize(
    ("on", "bars", "last"),
    [
        ("2024-11-01", 300, "15:00"),
        ("2024-11-05", 330, "15:30"),
        ("2024-12-30", 330, "15:30"),
        ("2011-11-18", 270, "15:00"),
        ("2009-01-05", 120, "11:00"),
    ],
)
def test_grid_of_bars_agrees(on, bars, last):
    grid = sessions("XTKS").grid(at(f"{on} 00:00"), at(f"{on} 23:59"), MINUTE)

    day = trading_day(date.fromisoformat(on))
    spans = [day.continuous[0], (day.continuous[-1][0], day.closes)][: len(day.continuous)]
    wanted = [ts for begins, ends in spans for ts in range(begins + MINUTE, ends + 1, MINUTE)]
    assert grid == wanted
    assert (len(grid), clock(grid[-1])) == (bars, last)
