from collections import Counter

import pytest

from exchange.prints import ETF, INDEX, POST, PRE, REGULAR
from exchange.share_prices import SharePrices
from tests.exchange.serving import SECOND, ns
from tests.support import EQKER

MINUTE = 60 * SECOND
SHARES = SharePrices()


def recorded(symbol, day):
    """Return the recorded rows of a February day in 2019: (open, high, low, close, volume)."""
    lines = (EQKER / f"{symbol}_1min.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in reversed(lines) if line.startswith(f"2019-02-{day}")]
    return [tuple(map(float, row[1:])) for row in rows]


def test_every_price_was_recorded_and_a_session_trades_its_recorded_volume():
    # Thursday 2024-08-08, 09:30 to 16:00 in New York, is served from Thursday 2019-02-14.
    prints = SHARES.prints("AAPL", ns("2024-08-08T13:30:00Z") - 1, ns("2024-08-08T20:00:00Z") - 1)
    rows = recorded("AAPL", 14)

    expected = Counter(price for row in rows for price in row[:4])
    assert Counter(p.price for p in prints) == expected
    assert prints[-1].day_volume == sum(row[4] for row in rows)
    assert prints[-1].day_high == max(row[1] for row in rows)
    assert prints[-1].day_low == min(row[2] for row in rows)
    assert {p.market_hours for p in prints} == {REGULAR}
    assert prints[-1].previous_close == recorded("AAPL", 13)[-1][3]


def test_day_volume_rises_and_times_are_in_order():
    prints = SHARES.prints("MSFT", ns("2024-08-08T13:30:00Z") - 1, ns("2024-08-08T20:00:00Z") - 1)

    volumes, times = [p.day_volume for p in prints], [p.ts for p in prints]
    assert volumes == sorted(volumes)
    assert times == sorted(times)
    assert len(set(times)) == len(times)


def test_a_span_asked_in_pieces_is_the_span_asked_at_once():
    begin, end = ns("2024-08-08T13:20:00Z"), ns("2024-08-08T13:40:00Z")
    whole = SHARES.prints("SPY", begin, end)
    step = 7 * SECOND + 13

    pieces = [SHARES.prints("SPY", at, min(at + step, end)) for at in range(begin, end, step)]

    assert [p for piece in pieces for p in piece] == whole
    assert whole


def test_before_and_after_hours_prices_join_the_session_and_add_no_volume():
    opens, closes = ns("2024-08-08T13:30:00Z"), ns("2024-08-08T20:00:00Z")
    before = SHARES.prints("AAPL", opens - 60 * MINUTE, opens - 1)
    after = SHARES.prints("AAPL", closes, closes + 60 * MINUTE)
    session = SHARES.prints("AAPL", opens - 1, closes - 1)

    assert {(p.market_hours, p.day_volume) for p in before} == {(PRE, 0)}
    assert {(p.market_hours, p.day_volume) for p in after} == {(POST, session[-1].day_volume)}
    assert before[-1].price == session[0].price
    assert after[0].price == session[-1].price


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("2024-08-10T00:30:00Z", "2024-08-12T07:59:00Z"),  # a weekend
        ("2024-07-04T05:00:00Z", "2024-07-05T05:00:00Z"),  # a holiday
        ("2024-08-08T00:00:00Z", "2024-08-08T08:00:00Z"),  # a night
    ],
)
def test_nothing_is_printed_where_the_market_sleeps(begin, end):
    assert SHARES.prints("AAPL", ns(begin), ns(end)) == []


def test_a_half_day_ends_at_one():
    prints = SHARES.prints("AAPL", ns("2024-07-03T16:50:00Z"), ns("2024-07-03T17:10:00Z"))

    hours = {p.market_hours for p in prints if p.ts >= ns("2024-07-03T17:00:00Z")}
    assert hours == {POST}
    assert {p.market_hours for p in prints if p.ts < ns("2024-07-03T17:00:00Z")} == {REGULAR}


def test_winter_time_opens_an_hour_later_in_utc():
    prints = SHARES.prints("AAPL", ns("2024-01-10T14:20:00Z"), ns("2024-01-10T14:40:00Z"))

    regular = [p for p in prints if p.market_hours == REGULAR]
    assert ns("2024-01-10T14:30:00Z") <= regular[0].ts < ns("2024-01-10T14:31:00Z")


def test_over_a_weekend_the_last_regular_print_is_fridays():
    seen = SHARES.last_regular("AAPL", ns("2024-08-11T14:00:00Z"))

    assert seen.price == recorded("AAPL", 15)[-1][3]
    assert ns("2024-08-09T19:59:00Z") <= seen.ts < ns("2024-08-09T20:00:00Z")


def test_continuous_hours_never_rest_and_squeeze_bars():
    origin = ns("2024-08-10T00:00:00Z")  # a Saturday
    quick = SharePrices(hours="continuous", origin=lambda: origin, bar_seconds=2.0)

    prints = quick.prints("JPM", origin - 1, origin + 2 * 390 * 2 * SECOND - 1)

    rows = recorded("JPM", 11) + recorded("JPM", 12)
    assert Counter(p.price for p in prints) == Counter(price for row in rows for price in row[:4])
    assert {p.market_hours for p in prints} == {REGULAR}


def test_kinds_are_told_apart_and_an_index_has_no_volume():
    at = ns("2024-08-08T15:00:00Z")
    index = SHARES.last_regular("^VIX", at)

    assert (index.quote_type, index.day_volume) == (INDEX, 0)
    assert SHARES.last_regular("SPY", at).quote_type == ETF
    assert SHARES.prints("NOPE", at, at + 60 * MINUTE) == []


def test_bars_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="bar_seconds"):
        SharePrices(hours="continuous", bar_seconds=0.0)
