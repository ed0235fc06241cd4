"""Training rows are serving rows, lie on the session grid, and never see what comes after."""

import numpy as np
import polars as pl
import pytest

from models import datasets
from models.bar_files import read_bars
from models.features import IMBALANCE, SPREAD, VWAP
from models.schema import HISTORY, LOOKBACK, WINDOW
from operators.indicators import Indicators
from operators.messages import Bar, BarQuality
from tests.support import EQKER, MINUTE, SECOND

SPARSE, BUSY = "UGA", "SPY"  # a bar in one of five minutes, and in every one


@pytest.fixture(scope="module")
def frame():
    bars = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    return bars.filter(pl.col("symbol").is_in([SPARSE, BUSY]))


@pytest.fixture(scope="module")
def by_symbol(frame):
    return datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")


def as_messages(bars):
    """Return the rows of `bars` as the bars stage would have delivered them."""
    optional = lambda value: None if np.isnan(value) else float(value)
    for number in range(len(bars)):
        opened, high, low, close, volume, vwap, spread, imbalance, quiet = bars.bars[number]
        left = int(bars.session_left[number])
        yield Bar(
            symbol=bars.symbol,
            interval=bars.interval,
            ts_close=int(bars.ts_close[number]),
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            vwap=vwap,
            spread=optional(spread),
            imbalance=optional(imbalance),
            quality=BarQuality.QUIET if quiet else BarQuality.OBSERVED,
            session_index=int(bars.session_index[number]),
            session_left=None if left == datasets.ALWAYS else left,
            session_fraction=float(bars.session_fraction[number]),
        )


@pytest.mark.parametrize("symbol", [SPARSE, BUSY])
def test_rows_equal_the_indicators_stage_bit_for_bit_on_real_bars(by_symbol, symbol):
    bars = by_symbol[symbol]
    stage = Indicators()

    streamed = [next(iter(stage.on(message))) for message in as_messages(bars)]

    assert [each.ready for each in streamed] == bars.ready.tolist()
    for number in np.flatnonzero(bars.ready)[::7]:
        window = bars.windows(np.array([number]))[0]
        assert window.tobytes() == streamed[number].window.tobytes()
        assert bars.volatility[number] == streamed[number].volatility


def test_the_grid_holds_every_minute_of_each_session_from_the_first_trade_on(by_symbol):
    bars = by_symbol[SPARSE]

    whole = bars.session != bars.session[0]
    for opens in np.unique(bars.session[whole])[:-1]:
        of_session = bars.session == opens
        assert np.diff(bars.ts_close[of_session]).tolist() == [MINUTE] * 389
        assert bars.session_index[of_session].tolist() == list(range(390))
        assert bars.session_left[of_session].tolist() == list(range(389, -1, -1))
    assert not bars.quiet[0]
    assert not bars.quiet[-1]


def test_observed_bars_are_the_files_own(frame, by_symbol):
    given = frame.filter(pl.col("symbol") == SPARSE)
    bars = by_symbol[SPARSE]
    stamps = given["ts_close"].to_numpy()
    on_grid = np.isin(stamps, bars.ts_close)

    assert bars.ts_close[~bars.quiet].tolist() == stamps[on_grid].tolist()
    expected = given.select("open", "high", "low", "close", "volume").to_numpy()[on_grid]
    np.testing.assert_array_equal(bars.ohlcv[~bars.quiet], expected)


def test_a_quiet_bar_carries_the_last_price_and_no_volume(by_symbol):
    bars = by_symbol[SPARSE]
    quiet = np.flatnonzero(bars.quiet)

    assert len(quiet) > 100
    np.testing.assert_array_equal(bars.ohlcv[quiet, 4], 0.0)
    for column in (0, 1, 2, 3, VWAP):
        np.testing.assert_array_equal(bars.bars[quiet, column], bars.close[quiet - 1])


def test_rows_begin_with_the_128th_bar(by_symbol):
    features = by_symbol[BUSY].features

    assert np.isnan(features[: LOOKBACK - 1]).all()
    assert np.isfinite(features[LOOKBACK - 1 :]).all()
    assert np.flatnonzero(by_symbol[BUSY].ready)[0] == HISTORY - 1


def test_bars_after_a_moment_change_no_feature_before_it(frame, by_symbol):
    only = frame.filter(pl.col("symbol") == BUSY)
    cut = int(by_symbol[BUSY].ts_close[500])
    after = pl.col("ts_close") > cut
    changed = only.with_columns(
        *(
            pl.when(after).then(pl.col(name) * 1.5).otherwise(pl.col(name)).alias(name)
            for name in ("open", "high", "low", "close", "volume")
        )
    )

    before = by_symbol[BUSY]
    shifted = datasets.from_frame(changed, interval_ns=MINUTE, calendar="XNYS")[BUSY]

    assert shifted.features[:501].tobytes() == before.features[:501].tobytes()
    assert not np.array_equal(shifted.features[501], before.features[501])
    ends_before = datasets.labels(before, 15)[:486]
    np.testing.assert_array_equal(datasets.labels(shifted, 15)[:486], ends_before)
    assert datasets.labels(shifted, 15)[490] != datasets.labels(before, 15)[490]


def test_labels_are_returns_over_the_horizon_within_one_session(by_symbol):
    bars = by_symbol[BUSY]

    found = datasets.labels(bars, 15)

    for number in (0, 200, 374):
        expected = np.log(bars.close[number + 15] / bars.close[number])
        assert found[number] == pytest.approx(expected)
    assert np.isnan(found[bars.session_left < 15]).all()
    assert np.isfinite(found[bars.session_left >= 15][:-15]).all()


def test_a_market_that_never_closes_has_no_end_of_session():
    stamps = np.arange(86_390, 86_410) * SECOND  # across midnight
    price = np.linspace(100.0, 101.0, 20)
    frame = pl.DataFrame(
        {
            "symbol": ["BTCUSDT"] * 20,
            "ts_close": stamps,
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": np.ones(20),
            "spread": [0.01] * 20,
            "imbalance": [None] * 19 + [0.5],
        },
        schema_overrides={"imbalance": pl.Float64},
    )

    bars = datasets.from_frame(frame, interval_ns=SECOND, calendar="24/7")["BTCUSDT"]

    assert len(bars) == 20
    assert set(bars.session_left.tolist()) == {datasets.ALWAYS}
    assert np.isfinite(datasets.labels(bars, 5)[:15]).all()
    assert bars.spread.tolist() == [0.01] * 20
    assert bars.bars[:, SPREAD].tolist() == bars.spread.tolist()
    assert np.isnan(bars.bars[:19, IMBALANCE]).all()


def test_the_cache_gives_the_same_arrays_and_follows_the_data(frame, tmp_path):
    only = frame.filter(pl.col("symbol") == BUSY).head(300)

    fresh = datasets.from_frame(only, interval_ns=MINUTE, calendar="XNYS", cache=tmp_path)[BUSY]
    stored = datasets.from_frame(only, interval_ns=MINUTE, calendar="XNYS", cache=tmp_path)[BUSY]
    other = only.with_columns(pl.col("volume") + 1.0)
    datasets.from_frame(other, interval_ns=MINUTE, calendar="XNYS", cache=tmp_path)

    assert stored.features.tobytes() == fresh.features.tobytes()
    assert stored.ts_close.tolist() == fresh.ts_close.tolist()
    assert len(list(tmp_path.iterdir())) == 2


def test_windows_end_at_their_rows(by_symbol):
    bars = by_symbol[BUSY]
    rows = np.array([HISTORY - 1, 400])

    windows = bars.windows(rows)

    assert windows.shape == (2, WINDOW, bars.features.shape[1])
    np.testing.assert_array_equal(windows[1], bars.features[400 - WINDOW + 1 : 401])
