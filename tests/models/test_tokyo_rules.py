"""Tick tables, daily limits and renewal intervals, against JPX's published figures."""

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tokyo.listings import LISTINGS, listing
from models.tokyo.rules import (
    FINE,
    FINE_2014,
    MINUTE,
    STANDARD,
    YEN,
    Index,
    TokyoError,
    daily_limit,
    ladder,
    limits,
    nearest,
    renewal_interval,
    renewal_time,
    tick_size,
    tick_table,
    widening,
)

TABLES = st.sampled_from([STANDARD, FINE, FINE_2014])


@pytest.mark.parametrize(
    ("price", "standard", "fine"),
    [
        (1_000, 1, 0.1),
        (1_000.5, 1, 0.5),
        (3_000, 1, 0.5),
        (3_001, 5, 1),
        (5_000, 5, 1),
        (5_001, 10, 1),
        (10_000, 10, 1),
        (10_005, 10, 5),
        (30_000, 10, 5),
        (30_010, 50, 10),
        (50_000, 50, 10),
        (50_010, 100, 10),
        (100_000, 100, 10),
        (300_000, 100, 50),
        (500_000, 500, 100),
        (1_000_000, 1_000, 100),
        (3_000_000, 1_000, 500),
        (50_000_000, 50_000, 10_000),
        (60_000_000, 100_000, 10_000),
    ],
)
def test_tick_of_a_price(price, standard, fine):
    assert tick_size(round(price * YEN), STANDARD) == standard * YEN
    assert tick_size(round(price * YEN), FINE) == round(fine * YEN)


@pytest.mark.parametrize(
    ("index", "on", "table"),
    [
        (Index.TOPIX500, date(2023, 6, 2), STANDARD),
        (Index.TOPIX500, date(2023, 6, 5), FINE),
        (Index.TOPIX100, date(2023, 6, 2), FINE),
        (Index.TOPIX100, date(2015, 9, 18), FINE_2014),
        (Index.TOPIX100, date(2014, 7, 18), STANDARD),
        (Index.OTHER, date(2025, 1, 6), STANDARD),
    ],
)
def test_table_depends_on_index_and_date(index, on, table):
    assert tick_table(index, on) is table


@pytest.mark.parametrize(
    ("base", "limit", "renewal"),
    [
        (99, 30, 5),
        (100, 50, 5),
        (199, 50, 5),
        (200, 80, 8),
        (500, 100, 10),
        (700, 150, 15),
        (1_000, 300, 30),
        (1_500, 400, 40),
        (2_000, 500, 50),
        (3_000, 700, 70),
        (5_000, 1_000, 100),
        (9_999, 1_500, 150),
        (10_000, 3_000, 300),
        (29_990, 5_000, 500),
        (62_000, 10_000, 1_000),
        (50_000_000, 10_000_000, 1_000_000),
    ],
)
def test_daily_limit_and_renewal_interval_by_price(base, limit, renewal):
    assert daily_limit(base * YEN) == limit * YEN
    assert renewal_interval(base * YEN) == renewal * YEN


@pytest.mark.parametrize(
    ("base", "down", "up", "expected"),
    [  # JPX market news of 2022-02-08: limits widened fourfold on one side
        (1_064, 1, 4, (764, 2_264)),
        (1_690, 1, 4, (1_290, 3_290)),
        (650, 4, 1, (250, 750)),
        (2_635, 1, 4, (2_135, 4_635)),
        (20, 1, 1, (1, 50)),
    ],
)
def test_limits_of_a_day(base, down, up, expected):
    found = limits(base * YEN, STANDARD, down=down, up=up)

    assert found == (expected[0] * YEN, expected[1] * YEN)


@given(st.integers(1, 10**8), st.integers(0, 10**6), TABLES)
def test_ladder_is_the_grid_itself(low, span, table):
    span = min(span, 2_000 * tick_size(low, table))

    prices = ladder(low, low + span, table)

    assert prices == sorted(set(prices))
    for price in prices:
        assert low <= price <= low + span
        assert price % tick_size(price, table) == 0
    for left, right in pairwise(prices):
        assert right - left == tick_size(right, table)


@given(st.floats(0.2, 1e9), TABLES)
def test_nearest_price_is_on_the_grid_and_near(price, table):
    found = nearest(price, table)

    tick = tick_size(max(1, round(price)), table)
    assert found % tick_size(found, table) == 0
    assert abs(found - price) <= tick


@given(st.integers(1, 10**9), TABLES)
def test_limits_lie_on_the_grid_and_hold_the_base(price, table):
    base = nearest(price, table)

    lower, upper = limits(base, table)

    assert 0 < lower <= base <= upper
    assert lower % tick_size(lower, table) == upper % tick_size(upper, table) == 0
    assert upper - base <= daily_limit(base)
    assert base - lower <= daily_limit(base)


def test_rules_changed_over_the_years():
    assert renewal_time(date(2011, 5, 6)) == 5 * MINUTE
    assert renewal_time(date(2011, 5, 9)) == 3 * MINUTE
    assert widening(date(2020, 7, 31)) == (3, 2)
    assert widening(date(2020, 8, 3)) == (2, 4)


@pytest.mark.parametrize("code", ["7203", "285A", "130A", "9999", "2A3C"])
def test_codes_old_and_new_are_stocks(code):
    found = listing(code)

    assert found.code == code
    assert found.price > 0


@pytest.mark.parametrize(
    "code", ["", "720", "72033", "0203", "AAPL", "130B", "7203.T", "72\uff103"]
)
def test_other_codes_are_refused_in_one_sentence(code):
    with pytest.raises(TokyoError, match=r"^Code .* is not of Tokyo's form: use .*\.$"):
        listing(code)


def test_listed_codes_have_a_price_on_their_grid():
    for code, found in LISTINGS.items():
        table = tick_table(found.group, date(2025, 1, 6))

        assert listing(code) is found
        assert nearest(found.price * YEN, table) == found.price * YEN
