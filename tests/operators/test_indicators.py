"""Streaming indicators: window by window what batch computation gives, and rebuilt from bars."""

import numpy as np
import pytest

from models.features import COLUMNS, feature_row
from models.schema import FEATURES, HISTORY, LOOKBACK, WINDOW
from operators.indicators import Indicators, bar_row
from operators.messages import NoBar
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
