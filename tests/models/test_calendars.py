"""Sessions, early closes, holidays, lunch breaks and times out of reach."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calendars import DAY, CalendarError, sessions

SECOND = 10**9
MINUTE = 60 * SECOND


def at(text: str, zone: str = "America/New_York") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def test_first_and_last_bar_of_a_regular_session():
    first = sessions("XNYS").session_of(at("2019-02-11 09:31"), MINUTE)
    last = sessions("XNYS").session_of(at("2019-02-11 16:00"), MINUTE)

    assert first is not None
    assert last is not None
    assert (first.session_index, first.session_left) == (0, 389)
    assert (last.session_index, last.session_left, last.session_fraction) == (389, 0, 1.0)
    assert first.opens == last.opens == at("2019-02-11 09:30")
    assert last.closes == at("2019-02-11 16:00")


@pytest.mark.parametrize(
    "close",
    ["2019-02-11 09:30", "2019-02-11 16:01", "2019-02-16 12:00", "2018-12-25 12:00"],
)
def test_pre_market_evening_weekend_and_holiday_are_outside(close):
    assert sessions("XNYS").session_of(at(close), MINUTE) is None


def test_early_close_has_210_bars():
    last = sessions("XNYS").session_of(at("2018-11-23 13:00"), MINUTE)

    assert last is not None
    assert (last.session_index, last.session_left) == (209, 0)
    assert sessions("XNYS").session_of(at("2018-11-23 13:01"), MINUTE) is None


def test_seconds_count_from_the_open():
    place = sessions("XNYS").session_of(at("2013-10-07 09:30") + SECOND, SECOND)

    assert place is not None
    assert (place.session_index, place.session_left) == (0, 23_399)


def test_hour_that_holds_the_open_is_the_first_bar():
    place = sessions("XNYS").session_of(at("2019-02-11 10:00"), 60 * MINUTE)

    assert place is not None
    assert (place.session_index, place.session_left) == (0, 6)


def test_summer_time_moves_the_session_in_utc():
    grid = sessions("XNYS").grid(at("2018-03-09 16:00"), at("2018-03-12 16:00"), MINUTE)

    assert len(grid) == 390
    assert grid[0] == at("2018-03-12 09:31") == at("2018-03-12 13:31", "UTC")


def test_lunch_break_is_outside_and_uncounted():
    tokyo = sessions("XTKS")
    before = tokyo.session_of(at("2021-01-14 11:30", "Asia/Tokyo"), MINUTE)
    lunch = tokyo.session_of(at("2021-01-14 12:00", "Asia/Tokyo"), MINUTE)
    after = tokyo.session_of(at("2021-01-14 12:31", "Asia/Tokyo"), MINUTE)

    assert lunch is None
    assert before is not None
    assert after is not None
    assert (before.session_index, before.session_left) == (149, 150)
    assert (after.session_index, after.session_left) == (150, 149)


def test_grid_agrees_with_session_of():
    calendar = sessions("XTKS")
    begin, end = at("2020-12-28 00:00", "UTC"), at("2021-01-06 00:00", "UTC")

    grid = calendar.grid(begin, end, 30 * MINUTE)

    every = range(begin + 30 * MINUTE, end + 1, 30 * MINUTE)
    assert grid == [close for close in every if calendar.session_of(close, 30 * MINUTE)]


def test_session_across_the_new_year_is_counted_through():
    sydney = sessions("XASX")  # 10:00 in Sydney is 23:00 UTC of the day before
    first = sydney.session_of(at("2019-01-02 10:01", "Australia/Sydney"), MINUTE)
    later = sydney.session_of(at("2019-01-02 12:00", "Australia/Sydney"), MINUTE)

    assert first is not None
    assert later is not None
    assert (first.session_index, later.session_index) == (0, 119)


def test_always_open_counts_the_utc_day():
    always = sessions("24/7")
    midnight = at("2024-08-09 00:00", "UTC")

    assert always.session_of(midnight, SECOND) == (86_399, None, 1.0, midnight - DAY, midnight)
    place = always.session_of(midnight + SECOND, SECOND)
    assert place is not None
    assert (place.session_index, place.session_left) == (0, None)


@pytest.mark.parametrize("ts", [-1, 0, at("2261-01-01", "UTC"), 2**63 - 1, 2**70])
def test_times_out_of_reach_have_no_session(ts):
    assert sessions("XNYS").session_of(ts, SECOND) is None


def test_unknown_calendar_is_one_sentence():
    with pytest.raises(CalendarError, match=r"Calendar 'NOPE' is not known: use .*\."):
        sessions("NOPE")


@given(st.integers(0, 40 * 24 * 60), st.sampled_from([1, 5, 15, 60]))
def test_counts_of_a_session_add_up(minute, minutes):
    interval = minutes * MINUTE
    close = (at("2019-06-20", "UTC") + minute * MINUTE) // interval * interval
    calendar = sessions("XNYS")

    place = calendar.session_of(close, interval)

    if place is not None:
        assert place.session_left is not None
        whole = calendar.grid(place.opens, place.closes + interval - 1, interval)
        assert len(whole) == place.session_index + 1 + place.session_left
        assert whole[place.session_index] == close
        assert 0 < place.session_fraction <= 1
