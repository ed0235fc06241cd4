"""What quality makes of trades asked for later, of other feeds' times and of day volumes."""

import itertools
import pickle
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.messages import SECOND, Gap, Reason, Rejection, Tick
from operators.quality import Quality
from operators.quality_limits import QualityLimits
from operators.switches import Switches
from tests.checked import reasons, run
from tests.holes import at, fetched, hole, switch
from tests.support import clock, quote, tick

NOW = 10_000


def live(seconds, price=100.0, **fields):
    return at(NOW + seconds, price, **fields)


def missed(seconds, price=100.0, **fields):
    """Return a trade fetched at the hundredth second."""
    return fetched(NOW + seconds, price, **{"ts_init": (NOW + 100) * SECOND} | fields)


def passed(out):
    return [m for m in out if isinstance(m, Tick)]


# ------------------------------------------------------------------- trades asked for later


def test_age_of_a_fetched_trade_does_not_matter():
    old = {"ts_init": (NOW + 100) * SECOND}
    closed = clock(ts_event=(NOW + 90) * SECOND)

    assert reasons([closed, at(NOW, **old)]) == [None, Reason.STALE]
    assert reasons([closed, at(NOW + 89, ts_init=(NOW + 89) * SECOND)]) == [None, Reason.LATE]
    assert reasons([closed, missed(0), missed(89), missed(200)]) == [None] * 4


def test_fetched_trade_comes_once_and_fills_its_gap():
    ids = [live(0, trade_id=1), live(9, trade_id=6)]
    out = run([*ids, *(missed(n, trade_id=n) for n in (2, 3, 3, 5, 6))])

    assert [m.reason for m in out if isinstance(m, Rejection)] == [Reason.DUPLICATE] * 2
    assert [(m.first_id, m.last_id, m.filled) for m in out if isinstance(m, Gap)] == [
        (2, 5, 0),
        (2, 5, 1),
        (2, 5, 2),
        (2, 5, 3),
    ]


def test_fetched_trade_may_come_before_the_live_one_it_leads_to():
    out = run(
        [live(0, trade_id=1), missed(1, trade_id=2), missed(2, trade_id=3), live(3, trade_id=4)]
    )

    assert [m.trade_id for m in out] == [1, 2, 3, 4]  # and no gap


def test_fetched_trade_does_not_date_a_later_gap():
    *_, gap, _ = run(
        [live(0, trade_id=1), live(9, trade_id=6), missed(1, trade_id=3), live(20, trade_id=9)]
    )

    assert (gap.ts_from, gap.ts_to) == ((NOW + 9) * SECOND, (NOW + 20) * SECOND)


def test_fetched_trades_do_not_hold_up_ids_that_leapt():
    known = [live(n / 10, trade_id=n) for n in range(3)]
    far = [live(1 + n / 10, trade_id=10**9 + n) for n in range(3)]
    found = reasons([*known, far[0], missed(0.05, trade_id=1), far[1], far[2]])

    assert found[3:] == [Reason.BAD_ID, Reason.DUPLICATE, Reason.BAD_ID, None]
    between = [live(0, trade_id=0), live(0.1, trade_id=2), live(0.2, trade_id=3)]
    found = reasons([*between, far[0], missed(0.05, trade_id=1), far[1], far[2]])
    assert found[3:] == [Reason.BAD_ID, None, Reason.BAD_ID, None]


def test_ids_may_leap_further_after_a_pause():
    known = [live(n / 10, trade_id=n) for n in range(3)]

    assert reasons([*known, live(5, trade_id=150_000)])[-1] is Reason.BAD_ID
    assert reasons([*known, live(30, trade_id=250_000)])[-1] is None
    assert reasons([*known, live(30, trade_id=10**9)])[-1] is Reason.BAD_ID


def test_fetched_price_is_judged_roughly():
    known = [live(n / 10) for n in range(20)]
    found = reasons([*known, missed(1, 110.0), missed(1, 90.0), missed(1, 130.0), missed(1, 1e9)])

    assert found[-4:] == [None, None, Reason.OUTLIER, Reason.OUTLIER]
    quotes = [quote(ts_event=NOW * SECOND, update_id=n) for n in range(3)]
    assert reasons([*quotes, missed(0, 110.0), missed(0, 1e9)])[-2:] == [None, Reason.OUTLIER]
    assert reasons([missed(0, 110.0)]) == [None]


def test_crash_that_was_missed_is_believed_once_five_trades_agree():
    known = [live(n / 10) for n in range(20)]
    found = reasons([*known, *(missed(2 + n / 10, 50.0 + n / 10) for n in range(8))])

    assert found[20:] == [Reason.OUTLIER] * 4 + [None] * 4


def test_history_does_not_enter_the_memory_of_prices():
    quality, clean = Quality(QualityLimits()), Quality(QualityLimits())
    known = [live(n / 10, 100.0 + n / 100) for n in range(20)]
    run(known, quality)
    run(known, clean)
    run([missed(1, 120.0), missed(1.1, 119.0), missed(1.2, 1e9)], quality)

    assert quality.state.trades == clean.state.trades
    assert quality.state.singles == clean.state.singles
    run([missed(2, 101.0)], quality)
    assert quality.state.trades.accepted[-1] == 101.0


# -------------------------------------------------------------------- prices after a pause


def test_move_during_an_outage_is_no_outlier():
    known = [live(n / 10) for n in range(20)]

    assert reasons([*known, live(5, 103.0)])[-1] is Reason.OUTLIER
    assert reasons([*known, live(42, 103.9)])[-1] is None  # twice the floor after 40 s
    assert reasons([*known, live(42, 104.5)])[-1] is Reason.OUTLIER


def test_move_of_quotes_during_an_outage_is_no_outlier():
    known = [quote(ts_event=(NOW + n) * SECOND, update_id=n) for n in range(5)]
    moved = {"bid": 103.0, "ask": 104.0, "update_id": 9}

    assert reasons([*known, quote(ts_event=(NOW + 5) * SECOND, **moved)])[-1] is Reason.OUTLIER
    assert reasons([*known, quote(ts_event=(NOW + 60) * SECOND, **moved)])[-1] is None


def test_no_pause_makes_any_price_credible():
    known = [live(n / 10) for n in range(20)]
    for day in (1, 100, 10_000):
        assert reasons([*known, live(day * 86_400, 149.0)])[-1] is None
        assert reasons([*known, live(day * 86_400, 151.0)])[-1] is Reason.OUTLIER
        assert reasons([*known, live(day * 86_400, 49.0)])[-1] is Reason.OUTLIER


@given(st.lists(st.floats(-0.04, 0.04), min_size=1, max_size=60), st.integers(1, 9_999))
def test_floor_is_as_it_was_while_prices_come(moves, apart_ms):
    price, messages = 100.0, []
    for n, move in enumerate(moves):
        price *= exp(move)
        messages.append(live(n * apart_ms / 1000, price, trade_id=n))
    steady = run(messages, floor_grows_from_ns=10**18)

    kept = [m.ts_event for m in steady if isinstance(m, Tick)]
    if all(b - a <= 10 * SECOND for a, b in itertools.pairwise(kept)):
        assert run(messages) == steady


# ----------------------------------------------------------------------------- other feeds


def test_trades_of_a_time_that_another_feed_covered_are_not_counted_twice():
    changes = [switch(NOW + 10), switch(NOW + 30, "yahoo", "binance")]
    found = reasons([*changes, *(missed(n) for n in (5, 9.9, 10, 29.9, 30, 40))])

    assert found[2:] == [None, None, Reason.COVERED, Reason.COVERED, None, None]
    found = reasons([*changes, *(missed(n, venue="yahoo") for n in (5, 15, 35))])
    assert found[2:] == [Reason.COVERED, None, Reason.COVERED]


def test_all_tapes_of_a_venue_are_one_feed():
    away = switch(NOW + 10)
    for venue in ("binance", "binance/aggregate", "binance-um", "binance-cm"):
        assert reasons([away, missed(5, venue=venue)])[1] is None
        assert reasons([away, missed(15, venue=venue)])[1] is Reason.COVERED


def test_live_trades_are_not_asked_where_they_come_from():
    assert reasons([switch(NOW + 10), live(20)]) == [None, None]


def test_symbol_without_switches_is_covered_by_nobody():
    assert (
        reasons([missed(n, venue=venue) for n, venue in enumerate(("yahoo", "sbi"))]) == [None] * 2
    )


def test_known_trade_is_a_duplicate_before_it_is_covered():
    found = reasons([live(9, trade_id=7), switch(NOW + 5), missed(9, trade_id=7)])

    assert found == [None, None, Reason.DUPLICATE]


def test_nobody_covered_the_time_the_engine_was_down():
    start = switch(NOW + 60, "binance", "binance", cause="start")
    found = reasons(
        [switch(NOW + 10), clock(ts_event=(NOW + 20) * SECOND), start]
        + [missed(n) for n in (5, 15, 25, 65)]
    )

    assert found[3:] == [None, Reason.COVERED, None, None]


def test_last_switches_are_remembered():
    switches = Switches()
    for n in range(200):
        switches.note(switch(n, *(("a", "b") if n % 2 else ("b", "a"))))

    assert len(switches.told) == 64
    assert switches.used("a", 198 * SECOND)
    assert switches.used("b", 199 * SECOND)
    assert switches.current == "b"
    assert switches.used_within("a", 198 * SECOND, 199 * SECOND)
    assert switches.used_within("b", 198 * SECOND, 200 * SECOND)
    assert not switches.used_within("b", 198 * SECOND, 199 * SECOND)


def test_other_feeds_trades_do_not_silence_sums():
    yahoo = [live(n / 10, venue="yahoo", size=0.0, day_volume=1.0 + n) for n in range(5)]
    sums = [live(1 + n / 10, venue="binance/aggregate", trade_id=n) for n in range(3)]
    away_and_back = [switch(NOW + 0.01), *yahoo, switch(NOW + 0.9, "yahoo", "binance")]

    assert reasons([*away_and_back, *sums]) == [None] * 10


def test_holes_and_switches_pass():
    messages = [hole(NOW), switch(NOW)]

    assert run(messages) == messages


# ---------------------------------------------------------------------------- day volumes


def told(seconds, day_volume, price=100.0, **fields):
    """Return what a venue tells that has no sizes but the volume of the day."""
    fields = {"venue": "yahoo", "size": 0.0, "day_volume": day_volume} | fields
    return live(seconds, price, **fields)


def sizes(messages):
    return [(m.size, m.day_volume) for m in passed(run(messages))]


def test_size_is_the_difference_of_day_volumes():
    assert sizes([told(0, 1000.0), told(1, 1000.0, 101.0), told(2, 1250.0)]) == [
        (0.0, 1000.0),
        (0.0, 1000.0),
        (250.0, 1250.0),
    ]


def test_each_venue_has_a_total_of_its_own():
    other = {"venue": "alpha_vantage"}
    found = sizes(
        [told(0, 1000.0), told(1, 50.0, **other), told(2, 1100.0), told(3, 70.0, **other)]
    )

    assert [size for size, _ in found] == [0.0, 0.0, 100.0, 20.0]


def test_total_that_fell_is_a_correction_unless_a_session_has_passed():
    assert [size for size, _ in sizes([told(0, 1000.0), told(60, 900.0), told(61, 950.0)])] == [
        0.0,
        0.0,
        50.0,
    ]
    overnight = 17 * 3600
    assert [size for size, _ in sizes([told(0, 1000.0), told(overnight, 30.0)])] == [0.0, 30.0]


def test_what_a_venue_tells_again_is_a_duplicate():
    first = told(0, 1000.0)

    assert reasons([first, first, told(1, 1000.0), told(1, 1000.0, 101.0)]) == [
        None,
        Reason.DUPLICATE,
        None,
        None,
    ]
    silent = told(0, None)  # such a venue may leave the volume out
    assert reasons([silent, silent]) == [None, Reason.DUPLICATE]


def test_older_word_of_a_total_is_stale_and_changes_nothing():
    assert reasons([told(2, 1000.0), told(1, 900.0), told(3, 1000.0)])[1] is Reason.STALE
    assert [size for size, _ in sizes([told(2, 1000.0), told(1, 900.0), told(3, 1000.0)])] == [0, 0]


def test_volume_that_is_left_out_once_is_not_lost():
    found = sizes([told(0, 1000.0), told(1, None, 101.0), told(2, 1100.0)])

    assert found == [(0.0, 1000.0), (0.0, None), (100.0, 1100.0)]


def test_volume_of_a_time_another_feed_covered_is_not_counted_twice():
    found = sizes(
        [
            told(0, 1000.0),
            switch(NOW + 1, "yahoo", "binance"),
            switch(NOW + 99),
            told(100, 9000.0),
            told(101, 9100.0),
        ]
    )

    assert [size for size, _ in found] == [0.0, 0.0, 100.0]
    resumed = [told(0, 1000.0), switch(NOW + 1, "yahoo", "yahoo"), told(2, 1100.0)]
    assert sizes(resumed)[-1][0] == 100.0


def test_rejected_total_leaves_no_trace():
    wild = told(1, 10**9, 1e9)

    assert sizes([told(0, 1000.0), wild, told(2, 1010.0)]) == [(0.0, 1000.0), (10.0, 1010.0)]


@given(
    st.lists(st.tuples(st.integers(-4, 90_000), st.floats(0, 1e6), st.floats(99, 101)), max_size=40)
)
def test_no_size_is_ever_negative_nor_more_than_the_day(rows):
    found = passed(run([told(seconds, volume, price) for seconds, volume, price in rows]))

    assert all(0.0 <= m.size <= m.day_volume for m in found)


# ------------------------------------------------------------------------------- all of it


POOL = [
    *(live(n / 2, 100.0 + n / 10, trade_id=n) for n in range(6)),
    *(missed(n / 2, 100.0, trade_id=n) for n in range(8)),
    *(missed(n, price) for n, price in ((1, 50.0), (2, 51.0), (3, 1e9))),
    *(told(n, 100.0 * n) for n in range(4)),
    *(live(n, venue="binance/aggregate", trade_id=n) for n in range(3)),
    *(missed(n, venue="binance/aggregate", trade_id=n) for n in range(3)),
    switch(NOW + 1),
    switch(NOW + 3, "yahoo", "binance"),
    hole(NOW + 1),
    clock(ts_event=(NOW + 2) * SECOND),
    quote(ts_event=NOW * SECOND),
]


@given(st.lists(st.sampled_from(range(len(POOL))), max_size=40), st.integers(0, 40))
def test_state_resumes_where_it_was_frozen(picks, cut):
    messages = [POOL[pick] for pick in picks]
    whole, first = Quality(QualityLimits()), Quality(QualityLimits())
    begun = run(messages[:cut], first)
    second = Quality(QualityLimits())
    second.state = pickle.loads(pickle.dumps(first.state))

    assert run(messages, whole) == begun + run(messages[cut:], second)


@given(st.lists(st.sampled_from(range(len(POOL))), max_size=40))
def test_each_message_is_passed_or_rejected_and_each_id_once(picks):
    messages = [POOL[pick] for pick in picks]
    out = [m for m in run(messages) if not isinstance(m, Gap)]
    ids = [(m.venue, m.trade_id) for m in passed(out) if m.trade_id is not None]

    assert len(out) == len(messages)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("venue", ["binance", "yahoo"])
def test_plain_ticks_keep_their_size(venue):
    [found] = run([tick(venue=venue, size=2.5)])

    assert found.size == 2.5
