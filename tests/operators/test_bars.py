import pickle
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.bars import Bars, BarSettings
from operators.messages import (
    SECOND,
    Bar,
    BarQuality,
    DeliveredBar,
    NoBar,
    Reason,
    Rejection,
    Tally,
)
from tests.support import MINUTE, bar, clock, quote, tick


def run(messages, stage=None, **settings):
    stage = stage or Bars(BarSettings(**settings))
    return [out for message in messages for out in stage.on(message)]


def at(seconds, price=100.0, **fields):
    return tick(price=price, ts_event=round(seconds * SECOND), **fields)


def quoted(seconds, **fields):
    return quote(ts_event=round(seconds * SECOND), **fields)


def closed(seconds, **fields):
    return clock(ts_event=round(seconds * SECOND), symbol="BTCUSDT", **fields)


def delivered(ts_close=1, close=100.0, **fields):
    return DeliveredBar(
        symbol="BTCUSDT",
        bar=bar(ts_close=ts_close, close=close, **fields),
        ts_init=0,
        offset=0,
    )


def test_clock_closes_a_bar_of_what_came():
    [made] = run(
        [
            at(0.1, 10.0, size=1.0),
            at(0.2, 14.0, size=2.0),
            at(0.3, 8.0, size=1.0),
            at(0.4, 9.0, size=4.0),
            quoted(0.5),
            closed(1),
        ]
    )

    assert (made.open, made.high, made.low, made.close) == (10.0, 14.0, 8.0, 9.0)
    assert (made.volume, made.trades, made.quotes) == (8.0, 4, 1)
    assert made.vwap == (10 + 28 + 8 + 36) / 8
    assert (made.ts_close, made.interval, made.quality) == (SECOND, SECOND, BarQuality.OBSERVED)


def test_bar_covers_its_opening_and_not_its_close():
    one, two = run([at(0, 1.0), at(1 - 1e-9, 2.0), at(1, 3.0), closed(1), closed(2)])

    assert (one.trades, one.close) == (2, 2.0)
    assert (two.trades, two.open) == (1, 3.0)


def test_end_of_input_closes_nothing_and_counts_what_is_open():
    stage = Bars(BarSettings())
    assert run([at(0.5), at(1.5), quoted(0.5), delivered(3)], stage) == []
    counts = {tally.name: tally.count for tally in stage.on_end()}

    assert (counts["open_trades"], counts["open_quotes"], counts["open_bars"]) == (2, 1, 1)


def test_quiet_bar_carries_the_last_price():
    _, quiet = run([at(0.5, 7.0), closed(1), closed(2)])

    assert (quiet.open, quiet.high, quiet.low, quiet.close, quiet.vwap) == (7.0,) * 5
    assert (quiet.volume, quiet.trades, quiet.quality) == (0.0, 0, BarQuality.QUIET)


def test_there_is_no_bar_before_the_first_price():
    out = run([closed(1), quoted(1.5), closed(2), at(2.5), closed(3)])

    assert out[0] == NoBar(symbol="BTCUSDT", ts_close=SECOND)
    assert out[1] == NoBar(symbol="BTCUSDT", ts_close=2 * SECOND)
    assert out[2] == Tally(key="BTCUSDT", name="unpriced_quotes", count=1)
    assert isinstance(out[3], Bar)


def test_tick_of_a_closed_bar_is_late():
    *_, late = run([at(0.5), closed(1), at(0.6)])

    assert (late.reason, late.symbol) == (Reason.LATE, "BTCUSDT")


def test_clock_not_above_the_last_closes_nothing():
    assert len(run([at(0.5), closed(1), closed(1), closed(0)])) == 1


def test_ticks_ahead_of_clock_wait_in_their_own_bar():
    one, two = run([at(1.5, 2.0), at(0.5, 1.0), closed(1), closed(2)])

    assert (one.close, two.close) == (1.0, 2.0)


def test_order_is_by_venue_time_then_id_then_arrival():
    same = [at(0.5, float(n), trade_id=n, offset=9 - n) for n in (3, 1, 2)]
    anonymous = [at(0.5, 20.0, offset=2), at(0.5, 10.0, offset=1)]

    [by_id], [by_arrival] = run([*same, closed(1)]), run([*anonymous, closed(1)])
    assert (by_id.open, by_id.close) == (1.0, 3.0)
    assert (by_arrival.open, by_arrival.close) == (10.0, 20.0)


def test_cut_feed_makes_gaps():
    cut = (("binance", "cut"), ("rss", "up"))
    partial, empty, back = run(
        [at(0.5), closed(1, feeds=cut), closed(2, feeds=cut), at(2.5), closed(3)]
    )

    assert (partial.quality, empty.quality) == (BarQuality.GAP, BarQuality.GAP)
    assert back.quality is BarQuality.OBSERVED


def test_only_the_named_feeds_make_gaps():
    [made] = run([at(0.5), closed(1, feeds=(("rss", "cut"),))], feeds=("binance",))

    assert made.quality is BarQuality.OBSERVED


def test_spread_and_imbalance_are_those_of_the_last_quote():
    first = quoted(0.6, bid=1.0, ask=4.0, bid_size=3.0, ask_size=1.0)
    before = quoted(0.5)
    [made] = run([at(0.1), first, before, closed(1)])

    assert (made.spread, made.imbalance, made.quotes) == (3.0, 0.5, 2)


def test_quote_stands_for_some_bars_and_then_no_more():
    made = run([at(0.1), quoted(0.2), *(closed(n) for n in range(1, 8))], quote_bars=3)

    assert [b.spread for b in made] == [1.0] * 4 + [None] * 3


def test_empty_book_has_no_imbalance():
    [made] = run([at(0.1), quoted(0.2, bid_size=0.0, ask_size=0.0), closed(1)])

    assert made.imbalance == 0.0


def test_delivered_bar_waits_for_its_clock():
    given_bar = delivered(1, high=110.0, spread=0.5, imbalance=0.1)
    made, quiet = run([given_bar, closed(1), closed(2)])

    assert (made.high, made.spread, made.quality) == (110.0, 0.5, BarQuality.OBSERVED)
    assert (quiet.close, quiet.spread, quiet.quality) == (100.0, 0.5, BarQuality.QUIET)


def test_delivered_bar_gets_its_place_in_the_session():
    opens = 1_549_895_400  # Monday 2019-02-11, 09:30 in New York
    third = DeliveredBar(
        symbol="BTCUSDT", bar=bar(interval=MINUTE, ts_close=opens + 180), ts_init=0, offset=0
    )
    [made] = run([third, closed(opens + 180)], interval_ns=MINUTE, calendar="XNYS")

    assert (made.session_index, made.session_left) == (2, 387)


def test_late_or_second_delivery_is_rejected():
    out = run([delivered(1), delivered(1), closed(1), delivered(1)])

    assert [m.reason for m in out if isinstance(m, Rejection)] == [Reason.DUPLICATE, Reason.LATE]


def test_trades_win_over_a_bar_made_from_them():
    rejected, made = run([delivered(1, close=5.0), at(0.5, 7.0), closed(1)])

    assert rejected.reason is Reason.DUPLICATE
    assert made.close == 7.0


def test_nothing_happens_outside_the_session():
    # A Saturday.
    saturday = 1_549_728_000
    out = run(
        [at(saturday + 1), delivered(saturday + 60), closed(saturday + 60)],
        interval_ns=MINUTE,
        calendar="XNYS",
    )

    assert [m.reason for m in out] == [Reason.OUTSIDE_SESSION] * 2


def test_bars_that_a_clock_leapt_over_are_accounted_for():
    out = run([at(0.5), at(0.6), quoted(0.7), closed(5), at(5.5), at(6.5), closed(7), closed(8)])

    assert [(m.name, m.count) for m in out if isinstance(m, Tally)] == [
        ("given_up_trades", 2),
        ("given_up_quotes", 1),
        ("given_up_trades", 3),
    ]
    assert [m.ts_close // SECOND for m in out if isinstance(m, Bar)] == [7, 8]


def test_other_messages_pass():
    assert run(["something"]) == ["something"]


ticks = st.lists(
    st.builds(
        lambda at_ms, price, size, n: (at_ms, price, size, n),
        st.integers(0, 2999),
        st.floats(1.0, 1000.0),
        st.floats(1e-3, 1000.0),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[3],
)


def market(rows):
    return [
        tick(price=price, size=size, trade_id=n, offset=n, ts_event=at_ms * 1_000_000)
        for at_ms, price, size, n in rows
    ]


@given(ticks, st.randoms())
def test_any_order_of_arrival_gives_the_same_bars(rows, random):
    clocks = [closed(n) for n in (1, 2, 3)]
    shuffled = list(rows)
    random.shuffle(shuffled)

    assert run([*market(rows), *clocks]) == run([*market(shuffled), *clocks])


@given(ticks)
def test_every_trade_is_in_one_bar_or_late_or_open(rows):
    stage = Bars(BarSettings())
    messages = [m for n, one in enumerate(market(rows)) for m in (one, closed(n / 10))]
    out = run(messages, stage)
    open_trades = next(t.count for t in stage.on_end() if t.name == "open_trades")

    in_bars = sum(m.trades for m in out if isinstance(m, Bar))
    late = sum(isinstance(m, Rejection) for m in out)
    assert in_bars + late + open_trades == len(rows)


@given(ticks)
def test_numbers_of_a_bar_agree_with_its_trades(rows):
    for made in run([*market(rows), *(closed(n) for n in (1, 2, 3))]):
        if not isinstance(made, Bar) or made.quality is BarQuality.QUIET:
            continue
        inside = [r for r in rows if made.ts_close - SECOND <= r[0] * 10**6 < made.ts_close]
        assert made.volume == fsum(r[2] for r in inside)
        assert made.low <= made.vwap <= made.high
        assert made.vwap == pytest.approx(fsum(r[1] * r[2] for r in inside) / made.volume)
        assert made.high == max(r[1] for r in inside)


@given(ticks, st.integers(0, 30))
def test_cutting_the_input_changes_no_earlier_bar(rows, cut):
    messages = [m for n, one in enumerate(market(rows)) for m in (one, closed(n / 10))]
    whole, part = run(messages), run(messages[:cut])

    assert whole[: len(part)] == part


@given(ticks, st.integers(0, 30))
def test_state_resumes_where_it_was_frozen(rows, cut):
    messages = [m for n, one in enumerate(market(rows)) for m in (one, closed(n / 10))]
    first, second = Bars(BarSettings()), Bars(BarSettings())
    begun = run(messages[:cut], first)
    second.state = pickle.loads(pickle.dumps(first.state))

    assert run(messages) == begun + run(messages[cut:], second)
