from hypothesis import given
from hypothesis import strategies as st

from operators.clocks import UNKNOWN_KEPT, Clocks, ClockSettings, base_of, matches
from operators.messages import (
    SECOND,
    Clock,
    DeliveredBar,
    Mood,
    Notice,
    Reason,
    Rejection,
    ScoredHeadline,
    Skipped,
    Tally,
)
from tests.holes import hole, switch
from tests.support import bar, clock, headline, notice, quote, tick

START = 1_723_161_255 * SECOND
BOTH = ("BTCUSDT", "ETHUSDT")


def at(seconds, **fields):
    return tick(ts_event=START + round(seconds * SECOND), **fields)


def run(messages, symbols=("BTCUSDT",), **settings):
    stage = Clocks(ClockSettings(**settings), symbols)
    return [out for message in messages for out in stage.on(message)]


def quotes_at(*seconds):
    """Return quotes without venue time: theirs is the receipt's."""
    return [quote(ts_event=START + round(second * SECOND)) for second in seconds]


def closes(out):
    return [(m.ts_event - START) / SECOND for _, m in out if isinstance(m, Clock)]


def steady(until, step=0.05):
    return [at(step * n, trade_id=n) for n in range(round(until / step))]


def counts_at_end(stage):
    """Return what is reported at the end, but for the number of messages received."""
    return [(key, tally) for key, tally in stage.on_end() if tally.name != "received"]


def test_clock_comes_when_three_messages_are_past_its_lateness():
    assert closes(run([at(0.1), at(0.2), at(0.3)])) == [0.0]  # where the log begins
    assert closes(run([*steady(1), at(1.25), at(1.26)])) == [0.0]
    assert closes(run([*steady(1), at(1.25), at(1.26), at(1.27)])) == [0.0, 1.0]


def test_messages_that_make_a_clock_due_stand_behind_it():
    out = run([*steady(1), at(1.25), at(1.26), at(1.27)])

    assert [type(m).__name__ for _, m in out[-2:]] == ["Clock", "Tick"]


def test_one_wrong_message_moves_no_clock():
    right = steady(1)

    assert closes(run([*right, at(4.9, ts_init=START)])) == closes(run(right))
    assert closes(run([*right[:5], at(4.9, ts_init=START), *right[5:]])) == closes(run(right))


def test_the_same_time_again_is_no_further_witness():
    assert closes(run([*steady(1), at(1.3), at(1.3), at(1.3), at(1.3)])) == [0.0]


def test_implausible_times_drive_nothing():
    wrong = [at(100 + n, ts_init=START) for n in range(9)]

    assert closes(run([*steady(1), *wrong])) == [0.0]


def test_quotes_of_a_wrong_receive_time_move_no_clock():
    wrong = quotes_at(*(8e8 + n / 100 for n in range(19)))
    right = steady(4)
    only_quotes = quotes_at(*(n / 20 for n in range(80)))

    for good in (right, only_quotes):
        for place in (0, 1, 50):
            assert closes(run([*good[:place], *wrong[:3], *good[place:]])) == closes(run(good))
        assert closes(run([*good[:50], *wrong, *good[50:]])) == closes(run(good))


def test_quotes_alone_are_believed_after_a_pause_of_hours():
    before, after = (quotes_at(*(hour * 3600 + n / 20 for n in range(60))) for hour in (0, 3))
    wrong = quotes_at(8e8, 8e8 + 1, 8e8 + 2)
    found = closes(run([*before, *after[:10], *wrong, *after[10:]]))

    assert found[0] == 0.0
    assert found[-2:] == [3 * 3600 + 1, 3 * 3600 + 2]
    assert found == sorted(set(found))


def test_one_venue_time_vouches_for_quotes_near_it():
    pause = [*quotes_at(100.2, 100.3), at(100.35, trade_id=99)]

    assert closes(run([*steady(1), *pause]))[-1] == 99.0
    assert closes(run([*steady(1), *pause[:2]])) == [0.0]


def test_offset_of_the_recorders_clock_is_known():
    offset = 1_270_000_000_000
    messages = [at(n / 10, ts_init=START - offset) for n in range(20)]

    assert closes(run(messages)) == []
    assert closes(run(messages, receive_offset_ns=offset)) == [0.0, 1.0]


def test_unknown_symbols_drive_nothing():
    assert closes(run([*steady(1), *(at(1 + n / 10, symbol="OTHER") for n in range(9))])) == [0.0]


def test_quiet_seconds_get_their_clocks():
    assert closes(run([*steady(1), at(5.3), at(5.4), at(5.5)])) == [0, 1, 2, 3, 4, 5]


def test_long_leap_is_jumped_but_for_its_ends():
    later = [at(10_000 + n / 10, ts_init=START + 10_000 * SECOND) for n in range(9)]
    found = closes(run([*steady(1), *later], max_fill_bars=100))

    assert found[:3] == [0, 1, 2]
    assert len(found) < 30
    assert found[-1] == 10_000
    assert found[-2:] == [9_999, 10_000]


def test_clocks_of_the_log_silence_our_own():
    given_clock = clock(ts_event=START + 3 * SECOND, feeds=(("binance", "cut"),))
    out = run([*steady(1), given_clock, *steady(9)])

    assert closes(out) == [0.0, 3.0]
    assert [m.feeds for _, m in out if isinstance(m, Clock)][-1] == (("binance", "cut"),)


def test_inference_can_be_turned_off():
    assert closes(run(steady(3), infer=False)) == []


def test_clock_not_above_the_last_is_ignored():
    assert closes(run([clock(ts_event=START + n * SECOND) for n in (2, 2, 1, 3)])) == [2, 3]


def test_each_clock_goes_to_each_symbol_in_the_universes_order():
    out = run([clock(ts_event=START)], symbols=BOTH)

    assert [(key, m.symbol) for key, m in out] == [("BTCUSDT", "BTCUSDT"), ("ETHUSDT", "ETHUSDT")]


def test_quotes_and_bars_drive_clocks_too():
    quotes = quotes_at(*(n / 10 for n in range(25)))
    bars = [
        DeliveredBar(
            symbol="BTCUSDT",
            bar=bar(ts_close=START // SECOND + n),
            ts_init=START + n * SECOND,
            offset=n,
        )
        for n in range(5)
    ]

    assert closes(run(quotes)) == [0, 1]
    assert closes(run(bars)) == [0, 1]


def test_bars_of_another_interval_are_counted_and_dropped():
    other = DeliveredBar(
        symbol="BTCUSDT", bar=bar(interval=60 * SECOND, ts_close=60), ts_init=0, offset=0
    )
    stage = Clocks(ClockSettings(), BOTH)

    assert list(stage.on(other)) == []
    assert [m.name for _, m in counts_at_end(stage)] == ["ignored:bar of another interval"]


def test_unknown_symbols_are_rejected_and_then_only_counted():
    stage = Clocks(ClockSettings(), BOTH)
    out = [o for _ in range(UNKNOWN_KEPT + 5) for o in stage.on(tick(symbol="OTHER"))]

    assert len(out) == UNKNOWN_KEPT
    assert {m.reason for _, m in out} == {Reason.UNKNOWN_SYMBOL}
    assert counts_at_end(stage) == [
        ("", Tally(key="clocks", name="unknown_symbol", count=UNKNOWN_KEPT + 5))
    ]


def test_skipped_types_are_counted_by_name_up_to_a_number():
    stage = Clocks(ClockSettings(), BOTH)
    for n in range(200):
        stage.on(Skipped(kind=f"type{n}", ts_init=0, offset=n))
    counts = {m.name: m.count for _, m in stage.on_end()}

    assert counts["ignored:type0"] == 1
    assert sum(counts.values()) == 200
    assert len(counts) < 60


def test_counts_are_reported_once_with_the_next_clock():
    stage = Clocks(ClockSettings(), ("BTCUSDT",))
    stage.on(Skipped(kind="depthUpdate", ts_init=0, offset=0))
    first, again = stage.on(clock(ts_event=START)), stage.on(clock(ts_event=START + SECOND))

    assert [type(m) for _, m in first] == [Clock, Tally]
    assert [type(m) for _, m in again] == [Clock]


def test_rejections_have_no_symbols_key():
    rejected = Rejection(reason=Reason.BAD_JSON, payload=b"", ts_init=0, offset=0)

    assert run([rejected]) == [("", rejected)]


def test_headline_is_routed_to_the_first_symbol_it_names():
    [(key, routed)] = run([notice(headline(symbols=("ETH", "DOGE")))], symbols=BOTH)

    assert key == "ETHUSDT"
    assert routed.body.symbols == ("ETHUSDT",)


def test_scored_headline_is_renamed_inside():
    scored = ScoredHeadline(
        headline=headline(symbols=("eth-usd", "BTC")),
        negative=0.1,
        positive=0.8,
        neutral=0.1,
        model="m",
    )
    [(key, routed)] = run([notice(scored)], symbols=BOTH)

    assert key == "BTCUSDT"
    assert routed.body.headline.symbols == BOTH


def test_headline_of_strange_symbols_is_dropped_and_counted():
    stage = Clocks(ClockSettings(), BOTH)

    assert list(stage.on(notice(headline(symbols=("DOGE",))))) == []
    assert counts_at_end(stage) == [("", Tally(key="clocks", name="headline_no_symbol", count=1))]


def test_notice_knows_the_last_clock():
    mood = Mood(source="index", value=1.0, available_at=0)
    out = run([notice(mood), clock(ts_event=START), notice(mood, offset=9)], symbols=BOTH)

    first, last = (m for _, m in out if isinstance(m, Notice))
    assert (first.after, last.after, last.offset) == (0, START, 9)
    assert [key for key, m in out if isinstance(m, Notice)] == ["BTCUSDT"] * 2


ALIASES = {"BTC-USD": "BTCUSDT", "DOGE-USD": "DOGEUSDT"}


def test_venues_own_name_of_a_symbol_becomes_ours():
    theirs = [
        at(0.1, symbol="BTC-USD"),
        quote("BTC-USD", ts_event=START),
        DeliveredBar(symbol="BTC-USD", bar=bar("BTC-USD"), ts_init=0, offset=0),
        hole(1, symbol="BTC-USD"),
        switch(1, symbol="BTC-USD"),
    ]
    out = run(theirs, aliases=ALIASES, infer=False)

    assert [type(m) for _, m in out] == [type(m) for m in theirs]
    assert {(key, m.symbol) for key, m in out} == {("BTCUSDT", "BTCUSDT")}
    assert out[2][1].bar.symbol == "BTCUSDT"


def test_each_message_under_another_name_is_received_once():
    stage = Clocks(ClockSettings(aliases=ALIASES), BOTH)
    for message in (at(0.1, symbol="BTC-USD"), at(0.2), at(0.3, symbol="DOGE-USD")):
        list(stage.on(message))

    assert stage.state.received == 3
    assert stage.state.counts == {"unknown_symbol": 1}  # ours is not in the universe either


def test_alias_of_ticks_drives_clocks_as_any():
    found = closes(run([at(n / 10, symbol="BTC-USD") for n in range(30)], aliases=ALIASES))

    assert found == [0.0, 1.0, 2.0]


def test_holes_and_switches_ride_their_symbols_path_in_order():
    messages = [at(0.1), hole(1), switch(2), hole(1, symbol="ETHUSDT"), at(0.2)]
    stage = Clocks(ClockSettings(), BOTH)
    out = [keyed for message in messages for keyed in stage.on(message)]

    assert [m for _, m in out] == messages
    assert [key for key, _ in out] == ["BTCUSDT"] * 3 + ["ETHUSDT", "BTCUSDT"]
    assert stage.state.received == 2


def test_holes_and_switches_of_strange_symbols_are_dropped_and_counted():
    stage = Clocks(ClockSettings(), BOTH)
    for message in (hole(1, symbol="DOGE"), hole(2, symbol="DOGE"), switch(1, symbol="DOGE")):
        assert list(stage.on(message)) == []

    assert {t.name: t.count for _, t in counts_at_end(stage)} == {
        "hole_no_symbol": 2,
        "switch_no_symbol": 1,
    }


def test_names_match_what_is_traded():
    assert matches("BTC", "BTCUSD_PERP")
    assert matches("BTCUSDT", "BTCUSDT")
    assert matches("$eth", "ETHUSDC")
    assert not matches("USDT", "BTCUSDT")
    assert not matches("BT", "BTCUSDT")
    assert base_of("BRK-B") == "BRKB"


@given(st.permutations(range(40)), st.integers(0, 10))
def test_clock_never_passes_what_three_messages_show(order, step):
    messages = [at(n / 7 + step / 100, trade_id=n) for n in order]
    stage = Clocks(ClockSettings(lateness_ns=0, plausible_ns=9 * SECOND), ("BTCUSDT",))
    seen = []
    for message in messages:
        seen.append(message.ts_event)
        list(stage.on(message))
        if len(seen) >= 3:
            assert stage.state.closed <= sorted(seen)[-3]
