"""Streaming indicators: window by window what batch computation gives, and rebuilt from bars."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import COLUMNS, feature_row
from models.schema import FEATURES, HISTORY, LOOKBACK, WINDOW
from operators.indicators import Indicators, bar_row
from operators.messages import BarQuality, Features, NoBar, Repaired
from operators.stage import freeze, thaw
from tests.support import bar, eqker_bars

TEN = ("AAPL", "AMZN", "BAC", "JPM", "MSFT", "MU", "QQQ", "SPY", "TSLA", "V")


@pytest.fixture(scope="module")
def bars_of():
    return {symbol: eqker_bars(symbol)[:420] for symbol in TEN}


def stream(bars):
    indicators = Indicators()
    return [features for each in bars for features in indicators.on(each)]


def test_streaming_equals_batch_over_the_same_windows(bars_of):
    for bars in bars_of.values():
        table = np.array([bar_row(each) for each in bars])
        assert table.shape == (len(bars), COLUMNS)
        for end, features in enumerate(stream(bars), start=1):
            if end < HISTORY:
                assert not features.ready
                continue
            last = bars[end - 1]
            row, volatility = feature_row(
                table[end - LOOKBACK : end], last.session_index, last.session_fraction
            )
            np.testing.assert_array_equal(features.window[-1], row)
            assert features.volatility == volatility


@pytest.mark.parametrize("symbol", TEN)
def test_any_187_stored_bars_give_the_same_input_bit_for_bit(bars_of, symbol):
    bars = bars_of[symbol]
    whole = stream(bars)
    for end in range(HISTORY, len(bars), 29):
        rebuilt = stream(bars[end - HISTORY : end])[-1]
        assert rebuilt.ready
        assert rebuilt.window.tobytes() == whole[end - 1].window.tobytes()


def test_ready_exactly_when_the_window_is_full(bars_of):
    ready = [features.ready for features in stream(bars_of["SPY"])]
    assert ready.index(True) == HISTORY - 1
    assert all(ready[HISTORY - 1 :])


def test_window_has_the_contracts_shape_and_type(bars_of):
    window = stream(bars_of["SPY"])[-1].window
    assert window.shape == (WINDOW, len(FEATURES))
    assert window.dtype == np.float32


def test_symbol_that_never_traded_is_not_ready():
    (features,) = Indicators().on(NoBar(symbol="A", ts_close=7))
    assert (features.ts_close, features.ready, features.window) == (7, False, None)


def test_messages_of_other_kinds_pass_through():
    assert list(Indicators().on("anything")) == ["anything"]


def test_emitted_window_is_not_changed_by_later_bars(bars_of):
    bars = bars_of["MSFT"]
    indicators = Indicators()
    kept = None
    for each in bars[:HISTORY]:
        (kept,) = indicators.on(each)
    before = kept.window.copy()
    for each in bars[HISTORY : HISTORY + 5]:
        indicators.on(each)
    np.testing.assert_array_equal(kept.window, before)


def test_resuming_in_the_middle_of_the_warm_up_changes_nothing():
    bars = [bar(ts_close=60 * (i + 1), close=100 + (i % 7)) for i in range(HISTORY)]
    first = Indicators()
    for each in bars[:150]:
        first.on(each)
    resumed = thaw(Indicators(), freeze(first))
    for each in bars[150:]:
        (features,) = resumed.on(each)
    assert features.window.tobytes() == stream(bars)[-1].window.tobytes()


# ------------------------------------------------------------------------------- repairs


def spoilt(made, n):
    """Return a bar as it was first told, when its feed was cut."""
    price = made.close * (1.0 + (n % 5 - 2) / 1000)
    numbers = {"open": price, "high": price, "low": price, "close": price, "vwap": price}
    return msgspec.structs.replace(made, quality=BarQuality.GAP, volume=0.0, trades=0, **numbers)


def mended(made):
    return msgspec.structs.replace(made, quality=BarQuality.BACKFILLED, trades=1)


def repairs(bars, places, known_at):
    chosen = tuple(bars[place] for place in sorted(places))
    return Repaired(symbol="SPY", known_at=known_at.ts_close, bars=chosen)


def outputs(messages, stage=None):
    stage = stage or Indicators()
    return [out for each in messages for out in stage.on(each) if isinstance(out, Features)]


def equal(one, other):
    assert (one.window is None) == (other.window is None)
    assert one.window is None or one.window.tobytes() == other.window.tobytes()
    assert (one.ready, one.volatility, one.bar) == (other.ready, other.volatility, other.bar)


@pytest.mark.parametrize("count", [3, 127, 128, 129, 150, 187, 188, 250])
@pytest.mark.parametrize("age", [1, 2, 59, 60, 61, 187, 300])
def test_repaired_bars_count_as_if_they_had_been_so_from_the_start(bars_of, count, age):
    whole = [mended(made) for made in bars_of["SPY"]]
    begin = max(count - age, 0)
    places = set(range(begin, min(begin + 12, count)))
    first = [spoilt(b, n) if n in places else b for n, b in enumerate(whole)]
    messages = [*first[:count], repairs(whole, places, whole[count]), *whole[count : count + 3]]

    for found, expected in zip(
        outputs(messages)[count:], outputs(whole[: count + 3])[count:], strict=True
    ):
        equal(found, expected)


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_any_repairs_at_any_time_leave_nothing_of_the_first_forms(bars_of, data):
    whole = [mended(made) for made in bars_of["SPY"][:260]]
    spoilt_at = data.draw(st.sets(st.integers(0, 250), max_size=40))
    absent_at = data.draw(st.sets(st.integers(60, 250), max_size=12))  # leapt over at first
    delays = {n: data.draw(st.integers(1, 9)) for n in sorted(spoilt_at | absent_at)}
    due = {}
    for place, delay in delays.items():
        due.setdefault(place + delay, set()).add(place)
    messages, last = [], 0
    for n, made in enumerate(whole):
        part = due.get(n, ())
        halves = ([p for p in part if p % 2], [p for p in part if not p % 2])
        messages += [repairs(whole, places, made) for places in halves if places]
        if n in absent_at:
            continue
        messages.append(spoilt(made, n) if n in spoilt_at else made)
        last = n
    found, expected = outputs(messages), outputs(whole)

    equal(found[-1], expected[last])
    if not absent_at:
        rows = {n: f.window for n, f in enumerate(found)}
        assert [n for n, window in rows.items() if window is None] == list(range(HISTORY - 1))
    cut = data.draw(st.integers(0, len(messages)))
    begun = Indicators()
    outputs(messages[:cut], begun)
    resumed = outputs(messages[cut:], thaw(Indicators(), freeze(begun)))
    for one, other in zip(reversed(resumed), reversed(found), strict=False):
        equal(one, other)


def test_bars_that_were_never_told_take_their_place(bars_of):
    whole = list(bars_of["SPY"][:300])
    for missing in (set(range(240, 250)), set(range(10)), set(range(120, 130))):
        told = [b for n, b in enumerate(whole[:260]) if n not in missing]
        messages = [*told, repairs(whole, missing, whole[260]), *whole[260:262]]
        equal(outputs(messages)[-1], outputs(whole[:262])[-1])


def test_history_that_is_told_late_fills_a_window_that_is_not_full(bars_of):
    whole = list(bars_of["SPY"][:205])
    messages = [*whole[40:200], repairs(whole, range(40), whole[200]), *whole[200:]]

    equal(outputs(messages)[-1], outputs(whole)[-1])


@pytest.mark.parametrize("parts", [([230, 231], [215]), ([215], [230]), ([215, 240], [230, 240])])
def test_repairs_of_one_bar_close_are_made_together(bars_of, parts):
    whole = [mended(made) for made in bars_of["SPY"][:260]]
    places = {place for part in parts for place in part}
    first = [spoilt(b, n) if n in places else b for n, b in enumerate(whole)]
    messages = [*first[:250], *(repairs(whole, p, whole[250]) for p in parts), *whole[250:]]

    for found, expected in zip(outputs(messages)[250:], outputs(whole)[250:], strict=True):
        equal(found, expected)


def test_repair_of_bars_older_than_the_window_changes_nothing(bars_of):
    whole = list(bars_of["SPY"][:300])
    old = repairs([spoilt(b, n) for n, b in enumerate(whole)], range(100), whole[290])
    stage = Indicators()

    equal(outputs([*whole[:290], old, whole[290]], stage)[-1], outputs(whole[:291])[-1])
    assert len(stage.state.bars) == HISTORY


def test_repair_passes_on_and_waits_for_the_next_bar(bars_of):
    whole = list(bars_of["SPY"][:200])
    repair = repairs(whole, [180, 181], whole[199])
    stage = Indicators()
    outputs([spoilt(b, n) if n in (180, 181) else b for n, b in enumerate(whole[:199])], stage)

    assert stage.on(repair) == (repair,)
    before = freeze(stage)
    assert [f.ready for f in stage.on(NoBar(symbol="SPY", ts_close=1))] == [False]
    assert freeze(stage) == before


def test_price_without_a_trade_is_nobodys():
    flags = {
        (quality, trades): bar_row(bar(quality=quality, trades=trades))[-1]
        for quality in BarQuality
        for trades in (0, 3)
    }

    assert {key for key, flag in flags.items() if flag == 0.0} == {
        (BarQuality.OBSERVED, 0),  # bar files tell no number of trades
        (BarQuality.OBSERVED, 3),
        (BarQuality.BACKFILLED, 3),
    }
