"""What holes, backfill and leaps make of bars that a Clock has closed."""

import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from operators.bars import Bars, BarSettings
from operators.messages import (
    SECOND,
    Bar,
    BarQuality,
    DeliveredBar,
    Hole,
    NoBar,
    Reason,
    Rejection,
    Repaired,
    Tally,
)
from operators.stage import freeze, thaw
from tests.holes import (
    COVERED,
    ENDED,
    FILLED,
    UNFILLED,
    answers,
    at,
    clocks,
    closed,
    fetched,
    hole,
    known,
    switch,
    through,
)
from tests.support import MINUTE, bar, quote, tick

GAP, QUIET = BarQuality.GAP, BarQuality.QUIET
OBSERVED, BACKFILLED = BarQuality.OBSERVED, BarQuality.BACKFILLED


def run(messages, stage=None, **settings):
    stage = stage or Bars(BarSettings(**settings))
    return [out for message in messages for out in stage.on(message)]


def qualities(out):
    return {second: made.quality for second, made in known(out).items()}


def repaired(out):
    return [m for m in out if isinstance(m, Repaired)]


def plain(made):
    """Return what the trades of a bar decide."""
    return msgspec.structs.replace(made, quality=OBSERVED)


OUTAGE = [at(0.5, 10.0), *clocks(1, 1), hole(1.1), *clocks(2, 5), hole(1.1, 5.3, ENDED)]


# -------------------------------------------------------------------------- marking bars


def test_bars_of_an_open_hole_are_gaps():
    out = run([*OUTAGE, at(5.4, 11.0), *clocks(6, 7)])

    assert qualities(out) == {1: OBSERVED, **dict.fromkeys(range(2, 7), GAP), 7: QUIET}
    assert repaired(out) == []


def test_quiet_market_is_no_gap():
    out = run([at(0.5), *clocks(1, 9)])

    assert set(qualities(out).values()) == {OBSERVED, QUIET}


def test_filled_hole_makes_its_bars_backfilled_before_the_next_bar():
    out = run(
        [
            *OUTAGE,
            at(5.4, 11.0),
            fetched(3.5, 12.0),
            fetched(1.5, 9.0),
            *clocks(6, 6),
            hole(1.1, 5.3, FILLED),
            *clocks(7, 7),
        ]
    )

    [told] = repaired(out)
    assert [type(m) for m in out[-3:]] == [Hole, Repaired, Bar]
    assert (told.symbol, told.known_at) == ("BTCUSDT", 7 * SECOND)
    assert [(b.ts_close // SECOND, b.close, b.trades, b.quality) for b in told.bars] == [
        (2, 9.0, 1, BACKFILLED),
        (3, 9.0, 0, BACKFILLED),
        (4, 12.0, 1, BACKFILLED),
        (5, 12.0, 0, BACKFILLED),
        (6, 11.0, 1, BACKFILLED),
    ]


def test_nothing_is_told_while_more_may_come():
    out = run([*OUTAGE, fetched(1.5, 9.0), *clocks(6, 9), fetched(3.5), *clocks(10, 11)])

    assert repaired(out) == []
    assert [b.trades for b in answers(out)] == [1] + [0] * 10


def test_hole_told_after_the_fact_marks_bars_already_closed():
    late = [hole(1.1), *clocks(6, 6)]
    out = run([at(0.5), *clocks(1, 5), *late])

    [told] = repaired(out)
    assert [(b.ts_close // SECOND, b.quality) for b in told.bars] == [(n, GAP) for n in range(2, 6)]
    assert answers(out)[-1].quality is GAP


def test_hole_that_ended_before_it_was_believed_unmarks_bars():
    out = run([at(0.5), *clocks(1, 1), hole(1.1), *clocks(2, 5), hole(1.1, 2.5, ENDED), closed(6)])

    assert qualities(out) == {1: OBSERVED, 2: GAP, 3: GAP, 4: QUIET, 5: QUIET, 6: QUIET}


def test_unfilled_hole_leaves_gaps_with_what_could_be_fetched():
    out = run([*OUTAGE, fetched(2.5, 12.0), hole(1.1, 5.3, UNFILLED), *clocks(6, 7)])

    assert qualities(out)[3] is GAP
    assert [(b.ts_close // SECOND, b.close, b.quality) for b in repaired(out)[0].bars] == [
        (3, 12.0, GAP),
        (4, 12.0, GAP),
        (5, 12.0, GAP),
    ]
    assert known(out)[7].close == 12.0


def test_hole_given_up_with_nothing_fetched_tells_nothing_new():
    assert repaired(run([*OUTAGE, hole(1.1, 5.3, UNFILLED), *clocks(6, 8)])) == []


def test_hole_is_over_where_another_feed_stood_in():
    yahoo = {"venue": "yahoo"}
    out = run(
        [
            at(0.5),
            *clocks(1, 1),
            hole(1.1),
            *clocks(2, 3),
            switch(3.5),
            hole(1.1, 3.5, COVERED),
            *(at(n + 0.6, **yahoo) for n in range(3, 8)),
            *clocks(4, 8),
        ]
    )
    assert qualities(out) == {
        1: OBSERVED,
        2: GAP,
        3: GAP,
        4: GAP,
        **dict.fromkeys(range(5, 9), OBSERVED),
    }


def test_feed_that_was_covered_still_fills_what_it_missed_before():
    covered = [*clocks(1, 1), hole(1.1), *clocks(2, 3), switch(3.5), hole(1.1, 3.5, COVERED)]
    yahoo = [m for n in range(4, 200) for m in (at(n - 0.4, venue="yahoo"), closed(n))]
    back = [hole(1.1, 3.5, ENDED), fetched(1.5, 90.0), hole(1.1, 3.5, FILLED), closed(200)]
    out = run([at(0.5), *covered, *yahoo, *back])

    assert qualities(out)[2] is qualities(out)[4] is BACKFILLED
    assert (known(out)[2].close, known(out)[4].trades) == (90.0, 1)


def test_only_the_feed_in_use_makes_gaps():
    out = run(
        [
            at(0.5),
            *clocks(1, 1),
            switch(1.5),
            hole(1.1),  # nobody's: the symbol went on from another feed
            *clocks(2, 4, feeds=(("binance", "cut"), ("yahoo", "up"))),
            *clocks(5, 5, feeds=(("yahoo", "cut"),)),
        ]
    )

    assert qualities(out) == {1: OBSERVED, 2: GAP, 3: QUIET, 4: QUIET, 5: GAP}


def test_bars_that_a_clock_called_cut_are_filled_with_the_hole():
    cut = (("binance", "cut"),)
    out = run(
        [
            at(0.5),
            closed(1, feeds=cut),
            hole(1.1),
            closed(2, feeds=cut),
            hole(1.1, 2.5, FILLED),
            *clocks(3, 4),
        ]
    )

    assert qualities(out) == {1: BACKFILLED, 2: BACKFILLED, 3: QUIET, 4: QUIET}


def test_bar_is_backfilled_if_any_trade_was_fetched_before_its_clock():
    out = run([at(0.5), fetched(0.6), closed(1), at(1.5), closed(2)])

    assert qualities(out) == {1: BACKFILLED, 2: OBSERVED}


def test_hole_filled_before_the_clock_leaves_a_whole_bar_as_observed():
    out = run([at(0.1), hole(0.2), hole(0.2, 0.4, FILLED), at(0.5), closed(1)])

    assert qualities(out) == {1: OBSERVED}


def test_second_hole_over_the_same_bars_keeps_them_gaps():
    messages = [*OUTAGE, hole(4.1, 6.5, ENDED, feed="other"), hole(1.1, 5.3, FILLED)]
    out = run([*messages, *clocks(6, 8)])
    assert qualities(out)[4] is BACKFILLED
    assert qualities(out)[5] is qualities(out)[7] is GAP

    out = run([*messages, hole(4.1, 6.5, FILLED, feed="other"), *clocks(6, 8)])
    assert qualities(out)[5] is BACKFILLED


# ------------------------------------------------------------------------ merging trades


def test_stray_fetched_trade_is_told_at_the_next_clock():
    out = run([at(0.5, 10.0), closed(1), closed(2), fetched(0.7, 12.0, size=3.0), closed(3)])

    [told] = repaired(out)
    first, second = told.bars
    assert (first.close, first.high, first.volume, first.trades) == (12.0, 12.0, 4.0, 2)
    assert (first.quality, second.quality) == (BACKFILLED, QUIET)
    assert (second.open, second.high, second.low, second.close, second.vwap) == (12.0,) * 5
    assert answers(out)[-1].close == 12.0


def test_price_is_carried_no_further_than_the_next_trade():
    out = run(
        [at(0.5, 10.0), *clocks(1, 2), at(2.5, 20.0), *clocks(3, 3), fetched(0.7, 12.0), closed(4)]
    )

    assert [b.ts_close // SECOND for b in repaired(out)[0].bars] == [1, 2]
    assert answers(out)[-1].close == 20.0


def test_same_price_carried_on_is_no_change():
    out = run([at(0.5, 10.0), *clocks(1, 3), fetched(0.7, 10.0), closed(4)])

    assert [b.ts_close // SECOND for b in repaired(out)[0].bars] == [1]


@pytest.mark.parametrize("recent", [5, 120])
def test_price_flows_into_no_bar_whose_own_past_is_forgotten(recent):
    first, second = hole(1.1, 2.2, ENDED), hole(20.1, 22.2, ENDED, feed="other")
    out = run(
        [
            at(0.5, 10.0),
            *clocks(1, 1),
            first,
            *clocks(2, 10),
            at(10.5, 20.0),
            *clocks(11, 20),
            second,
            *clocks(21, 45),
            at(45.5, 20.0),
            *clocks(46, 60),
            fetched(1.5, 5.0),
            hole(1.1, 2.2, FILLED),
            hole(20.1, 22.2, UNFILLED, feed="other"),
            *clocks(61, 62),
        ],
        recent_bars=recent,
    )

    assert [known(out)[n].close for n in (1, 2, 10)] == [10.0, 5.0, 5.0]
    assert {known(out)[n].close for n in range(11, 63)} == {20.0}


def test_trade_before_the_hole_by_venue_time_is_not_lost():
    # Sent at 0.99, on its way when the connection broke at 1.02; many bars have closed since.
    busy = [m for n in range(4, 200) for m in (at(n - 0.5, 10.0), closed(n))]
    out = run(
        [
            at(0.5, 10.0),
            *clocks(1, 1),
            hole(1.02),
            *clocks(2, 3),
            hole(1.02, 3.2, ENDED),
            *busy,
            fetched(0.99, 12.0),
            hole(1.02, 3.2, FILLED),
            closed(200),
        ]
    )

    assert (known(out)[1].trades, known(out)[1].close, known(out)[1].quality) == (
        2,
        12.0,
        BACKFILLED,
    )
    assert not any(isinstance(m, Rejection) for m in out)


def test_hole_told_just_behind_the_first_trades_after_it_still_finds_its_bars():
    out = run(
        [
            at(0.5),
            *clocks(1, 60),
            at(60.5),
            *clocks(61, 62),
            at(62.5),
            hole(0.6, 60.5, ENDED),
            fetched(30.5, 101.0),
            hole(0.6, 60.5, FILLED),
            closed(63),
        ]
    )

    assert (known(out)[31].trades, known(out)[40].close) == (1, 101.0)


def test_trade_fetched_too_late_is_rejected():
    busy = [m for n in range(1, 50) for m in (at(n - 0.5), closed(n))]
    *_, late = run([*busy, fetched(10.5)])

    assert late.reason is Reason.LATE


def test_live_trade_of_a_closed_bar_stays_late():
    *_, late = run([*OUTAGE, at(2.5)])

    assert late.reason is Reason.LATE


def test_delivered_bar_holds_its_trades_already():
    given_bar = DeliveredBar(symbol="BTCUSDT", bar=bar(ts_close=1), ts_init=0, offset=0)
    out = run([given_bar, closed(1), fetched(0.5), closed(2)])

    assert [m.reason for m in out if isinstance(m, Rejection)] == [Reason.DUPLICATE]
    assert repaired(out) == []


def test_repair_keeps_what_quotes_told():
    quoted = quote(ts_event=SECOND // 2, bid=9.0, ask=11.0, bid_size=3.0)
    out = run([at(0.4, 10.0), quoted, *clocks(1, 2), fetched(0.6, 10.5), closed(3)])

    for found in known(out).values():
        assert (found.spread, found.imbalance) == (2.0, 0.5)
    assert known(out)[1].quotes == 1


def test_first_price_may_be_a_fetched_one():
    out = run(
        [
            *clocks(1, 2),
            hole(2.1, 2.2, ENDED),
            *clocks(3, 3),
            fetched(1.5, 7.0),
            hole(2.1, 2.2, FILLED),
            *clocks(4, 4),
        ]
    )

    assert [type(m) for m in answers(out)] == [NoBar] * 3 + [Bar]
    assert {n: (b.close, b.quality) for n, b in known(out).items()} == {
        2: (7.0, BACKFILLED),
        3: (7.0, BACKFILLED),
        4: (7.0, QUIET),
    }


def test_prices_without_sizes_make_a_bar_without_volume():
    [made] = run(
        [at(0.1, 10.0, size=0.0), at(0.2, 14.0, size=0.0), at(0.3, 12.0, size=0.0), closed(1)]
    )

    assert (made.open, made.high, made.low, made.close) == (10.0, 14.0, 10.0, 12.0)
    assert (made.volume, made.trades, made.vwap) == (0.0, 3, 12.0)

    [made] = run([at(0.1, 10.0, size=0.0), at(0.2, 14.0, size=2.0), closed(1)])
    assert (made.volume, made.vwap) == (2.0, 14.0)


def test_hole_resolved_outside_the_session_is_told_with_the_next_bar():
    close = 1_549_918_800  # Monday 2019-02-11, 16:00 in New York
    opens = 1_549_981_800
    minute = {"interval_ns": MINUTE, "calendar": "XNYS"}
    out = run(
        [
            at(close - 90),
            closed(close - 60),
            hole(close - 50),
            closed(close),
            hole(close - 50, close + 5, ENDED),
            closed(close + 60),
            fetched(close - 30, 120.0),
            hole(close - 50, close + 5, FILLED),
            *(closed(close + 60 * n) for n in range(2, 9)),
            closed(opens + 60),
        ],
        **minute,
    )

    [told] = repaired(out)
    assert told.known_at == (opens + 60) * SECOND
    assert [b.ts_close // SECOND for b in told.bars] == [close]
    assert answers(out)[-1].close == 120.0


# --------------------------------------------------------------------------------- leaps


def test_bars_of_a_restart_come_into_being_with_what_was_missed():
    before = [at(0.5, 10.0), *clocks(1, 2)]
    missed = [fetched(40.5, 20.0), fetched(41.5, 21.0)]
    out = run(
        [
            *before,
            hole(2.1, 60.2, ENDED, cause="down"),
            closed(100),
            *missed,
            closed(101),
            hole(2.1, 60.2, FILLED),
            closed(102),
        ]
    )

    [told] = repaired(out)
    assert [b.ts_close // SECOND for b in told.bars] == [*range(3, 62), 100, 101]
    assert {b.close for b in told.bars[:38]} == {10.0}
    assert [known(out)[n].close for n in (41, 42, 43, 61, 100, 101, 102)] == [20.0] + [21.0] * 6
    assert known(out)[41].quality is known(out)[50].quality is BACKFILLED
    assert known(out)[100].quality is QUIET


def test_hole_told_behind_the_leap_finds_its_bars_too():
    before = [at(0.5, 10.0), *clocks(1, 2)]
    out = run([*before, closed(100), hole(2.1, 99.5, ENDED), fetched(50.5, 20.0), closed(101)])
    assert set(known(out)) == {1, 2, 100, 101}

    out = run(
        [
            *before,
            closed(100),
            hole(2.1, 99.5, ENDED),
            fetched(50.5, 20.0),
            hole(2.1, 99.5, FILLED),
            closed(101),
        ]
    )
    assert list(known(out)) == list(range(1, 102))
    assert known(out)[100].close == 20.0


def test_trades_that_wait_when_clock_leaps_are_kept_for_a_hole():
    out = run(
        [
            at(0.5, 10.0),
            closed(1),
            hole(1.1, 30.0, ENDED),
            fetched(5.5, 12.0),
            closed(31),
            hole(1.1, 30.0, FILLED),
            closed(32),
        ]
    )

    assert known(out)[6].trades == 1
    assert not any(isinstance(m, Tally) for m in out)


def test_leap_that_nothing_was_fetched_for_stays_a_leap():
    out = run([at(0.5), closed(1), hole(1.1, 30.0, UNFILLED), closed(31), *clocks(32, 33)])

    assert list(known(out)) == [1, 31, 32, 33]


def test_hole_since_the_beginning_of_time_costs_no_more_than_its_limit():
    now = 1_700_000_000
    stage = Bars(BarSettings(repair_bars=500))
    out = run([hole(0), at(now - 0.5), closed(now), hole(0, now, FILLED), closed(now + 1)], stage)

    assert len(stage.state.kept) <= 500
    assert set(known(out)) == {now, now + 1}


# --------------------------------------------------------------------- accounts and state


def test_end_of_input_counts_what_was_fetched_and_not_told():
    stage = Bars(BarSettings())
    run([*OUTAGE, fetched(1.5), fetched(2.5), at(5.5)], stage)
    counts = {tally.name: tally.count for tally in stage.on_end()}

    assert counts["open_trades"] == 3


def test_what_waits_too_long_is_given_up_and_counted():
    out = run([*OUTAGE, fetched(1.5), *clocks(6, 40)], repair_bars=20)

    assert [(m.name, m.count) for m in out if isinstance(m, Tally)] == [("given_up_trades", 1)]


def test_little_is_kept_while_all_is_well():
    stage = Bars(BarSettings())
    run([m for n in range(1, 400) for m in (at(n - 0.5), closed(n))], stage)
    busy = len(pickle.dumps(stage.state))
    assert len(stage.state.kept) == 4
    assert busy < 4000

    run(clocks(400, 800), stage)  # then nobody trades
    assert len(stage.state.kept) == 120


def test_holes_leave_nothing_behind():
    stage, clean = Bars(BarSettings()), Bars(BarSettings())
    before, after = (
        [m for n in range(*span) for m in (at(n - 0.5), closed(n))] for span in ((6, 60), (60, 64))
    )
    run([*OUTAGE, *before], stage)
    assert len(stage.state.kept) > 4
    run([fetched(2.5), hole(1.1, 5.3, FILLED), *after], stage)
    run([at(0.5), *clocks(1, 5), *before, *after], clean)

    assert stage.state.holes == {}
    assert list(stage.state.kept) == list(clean.state.kept)
    assert len(freeze(stage)) == pytest.approx(len(freeze(clean)), abs=30)
    assert run([closed(64)], stage) == run([closed(64)], clean)


def test_feed_that_breaks_all_the_time_cannot_fill_the_memory():
    stage = Bars(BarSettings())
    run([at(0.5), *clocks(1, 2), *(hole(2 + n / 1000) for n in range(1000))], stage)

    assert len(stage.state.holes) == 256


# ------------------------------------------------------------------------------ for all

UNTIL = 40


@st.composite
def outages(draw):
    """Return one or two holes that do not overlap, in seconds, each filled before the end."""
    cuts = sorted(draw(st.lists(st.integers(10, 340), min_size=2, max_size=4, unique=True)))
    found = []
    for begin, end in zip(cuts[::2], cuts[1::2], strict=False):
        seen = draw(st.integers(begin, min(begin + 80, end)))
        filled = draw(st.integers(end, 380))
        found.append((begin / 10 + 0.003, seen / 10 + 0.003, end / 10 + 0.003, filled / 10 + 0.004))
    return found


trades = st.lists(
    st.tuples(st.integers(0, 38_000), st.sampled_from([99.0, 100.0, 101.5]), st.floats(1e-3, 9.0)),
    min_size=1,
    max_size=60,
)


def market(rows):
    return [
        tick(price=price, size=size, trade_id=n, offset=n, ts_event=ms * 1_000_000)
        for n, (ms, price, size) in enumerate(sorted(rows, key=lambda row: row[0]))
    ]


@hypothesis_settings(deadline=None, max_examples=150)
@given(trades, outages())
def test_filled_holes_leave_the_bars_of_an_undisturbed_run(rows, holes):
    whole = run(through(market(rows), [], UNTIL))
    broken = run(through(market(rows), holes, UNTIL))
    assert [type(m) for m in answers(broken)].count(Bar) <= UNTIL
    assert {n: plain(b) for n, b in known(broken).items()} == {
        n: plain(b) for n, b in known(whole).items()
    }
    assert not any(isinstance(m, Rejection | Tally) for m in broken)
    assert all(b.quality is not GAP for b in known(broken).values())
    for second, made in known(broken).items():
        if made.quality is OBSERVED:
            assert made == known(whole)[second]


@hypothesis_settings(deadline=None, max_examples=150)
@given(trades, outages(), st.floats(0, 1), st.booleans())
def test_every_trade_counts_in_one_bar_at_any_time(rows, holes, share, filled):
    messages = [
        m
        for m in through(market(rows), holes, UNTIL)
        if filled or not isinstance(m, Hole) or m.state is not FILLED
    ]
    cut = int(len(messages) * share)
    stage = Bars(BarSettings())
    out = run(messages[:cut], stage)
    came = sum(hasattr(m, "trade_id") for m in messages[:cut])
    counts = {t.name: t.count for t in stage.on_end()}

    assert sum(b.trades for b in known(out).values()) + counts.get("open_trades", 0) == came


@hypothesis_settings(deadline=None, max_examples=100)
@given(trades, outages(), st.floats(0, 1))
def test_state_resumes_in_the_middle_of_a_hole(rows, holes, share):
    messages = through(market(rows), holes, UNTIL)
    cut = int(len(messages) * share)
    first = Bars(BarSettings())
    begun = run(messages[:cut], first)
    second = thaw(Bars(BarSettings()), freeze(first))

    assert run(messages) == begun + run(messages[cut:], second)


@hypothesis_settings(deadline=None, max_examples=100)
@given(trades, outages())
def test_only_what_changed_is_told_and_in_time(rows, holes):
    told = {}
    last = 0
    for message in run(through(market(rows), holes, UNTIL)):
        if isinstance(message, Bar | NoBar):
            last = message.ts_close
            told[last] = message
        elif isinstance(message, Repaired):
            closes = [b.ts_close for b in message.bars]
            assert message.known_at == last + SECOND
            assert closes == sorted(set(closes))
            assert closes
            assert closes[-1] <= last
            for made in message.bars:
                assert told[made.ts_close] != made
                told[made.ts_close] = made


@pytest.mark.parametrize("state", [ENDED, FILLED, UNFILLED, COVERED])
def test_hole_of_a_time_nobody_remembers_harms_nothing(state):
    stage, clean = Bars(BarSettings()), Bars(BarSettings())
    market = [m for n in range(1, 99) for m in (at(n - 0.5), closed(n))]
    old = hole(1.0, 2.0, state)

    assert run([*market, old, closed(100), closed(101)], stage) == [
        *run(market, clean),
        old,
        *run([closed(100), closed(101)], clean),
    ]
    assert stage.state.holes == {}
