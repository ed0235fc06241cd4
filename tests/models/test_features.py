"""Features against TA-Lib's public functions, against plain NumPy, and on degenerate windows."""

from pathlib import Path

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bar_files import read_bars
from models.features import (
    CLOSE,
    COLUMNS,
    HIGH,
    LOW,
    OPEN,
    VOLUME,
    VWAP,
    feature_row,
    feature_values,
)
from models.schema import CLIP, FEATURES, LOOKBACK

EQKER = Path(__file__).parents[2] / "data/bars/eqker_us_1m_2019-02-11_15"
TEN = ("AAPL", "AMZN", "BAC", "JPM", "MSFT", "MU", "QQQ", "SPY", "TSLA", "V")
CLOSES_TO = {"rtol": 0.0, "atol": 1e-9}


@pytest.fixture(scope="module")
def histories():
    """Return {symbol: (bars, COLUMNS)} of real one-minute bars."""
    frame = read_bars(EQKER, tz="America/New_York", interval=60_000_000_000)
    found = {}
    for symbol in TEN:
        rows = frame.filter(frame["symbol"] == symbol)
        bars = np.full((len(rows), COLUMNS), np.nan)
        for column, name in (
            (OPEN, "open"), (HIGH, "high"), (LOW, "low"), (CLOSE, "close"), (VOLUME, "volume"),
        ):  # fmt: skip
            bars[:, column] = rows[name].to_numpy()
        bars[:, VWAP] = bars[:, CLOSE]
        bars[:, -1] = 0.0
        found[symbol] = bars
        assert len(bars) > 1900, symbol
    return found


def value_of(bars, name, **session):
    values, _ = feature_values(bars, session.get("index", 40), session.get("fraction", 0.3))
    return values[FEATURES.index(name)]


def windows(histories, step=61):
    for bars in histories.values():
        for end in range(LOOKBACK, len(bars), step):
            yield bars[end - LOOKBACK : end]


def clipped(value):
    return np.clip(value, -CLIP, CLIP)


def test_oscillators_equal_batch_talib_on_the_same_window(histories):
    for bars in windows(histories):
        high, low, close, volume = (bars[:, i].copy() for i in (HIGH, LOW, CLOSE, VOLUME))
        slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
        plus, minus = (f(high, low, close, 14)[-1] for f in (talib.PLUS_DI, talib.MINUS_DI))
        expected = {
            "rsi_14": talib.RSI(close, 14)[-1] / 50 - 1,
            "rsi_5": talib.RSI(close, 5)[-1] / 50 - 1,
            "stochastic_k": slow_k[-1] / 50 - 1,
            "stochastic_d": slow_d[-1] / 50 - 1,
            "williams_r_14": talib.WILLR(high, low, close, 14)[-1] / 50 + 1,
            "cci_20": talib.CCI(high, low, close, 20)[-1] / 200,
            "mfi_14": talib.MFI(high, low, close, volume, 14)[-1] / 50 - 1,
            "adx_14": talib.ADX(high, low, close, 14)[-1] / 50 - 1,
            "directional_index": (plus - minus) / 100,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(value_of(bars, name), clipped(value), **CLOSES_TO)


def test_distances_equal_batch_talib_on_the_same_window(histories):
    for bars in windows(histories):
        high, low, close, volume = (bars[:, i].copy() for i in (HIGH, LOW, CLOSE, VOLUME))
        atr = talib.ATR(high, low, close, 14)[-1]
        macd, signal, histogram = talib.MACD(close, 12, 26, 9)
        upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
        sigma = np.diff(np.log(close))[-60:].std()
        obv = talib.OBV(close, volume)[-20:]
        expected = {
            "momentum_10": talib.MOM(close, 10)[-1] / atr,
            "macd": macd[-1] / atr,
            "macd_signal": signal[-1] / atr,
            "macd_histogram": histogram[-1] / atr,
            "ema_distance_55": (close[-1] - talib.EMA(close, 55)[-1]) / atr,
            "sma_distance_120": (close[-1] - talib.SMA(close, 120)[-1]) / atr,
            "bollinger_position": (close[-1] - middle[-1]) / ((upper[-1] - lower[-1]) / 2),
            "natr_14": np.log(talib.NATR(high, low, close, 14)[-1] / 100 / sigma),
            "roc_15": np.log1p(talib.ROCP(close, 15)[-1]) / (sigma * np.sqrt(15)),
            "obv_slope_20": talib.LINEARREG_SLOPE(obv, 20)[-1] / volume[-20:].mean(),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(
                value_of(bars, name), clipped(value), err_msg=name, **CLOSES_TO
            )


def wilder(values, span):
    """Smooth as Wilder did: a plain mean first, then one part in `span` of the new value."""
    smoothed = values[:span].mean()
    for value in values[span:]:
        smoothed += (value - smoothed) / span
    return smoothed


def true_range(high, low, close):
    previous = close[:-1]
    return np.maximum.reduce(
        [high[1:] - low[1:], np.abs(high[1:] - previous), np.abs(low[1:] - previous)]
    )


def test_rsi_and_atr_equal_wilders_own_recursion(histories):
    for bars in windows(histories, step=307):
        high, low, close = bars[:, HIGH], bars[:, LOW], bars[:, CLOSE]
        change = np.diff(close)
        gain, loss = wilder(np.maximum(change, 0), 14), wilder(np.maximum(-change, 0), 14)
        rsi = 100 * gain / (gain + loss)
        np.testing.assert_allclose(value_of(bars, "rsi_14"), rsi / 50 - 1, atol=1e-9)

        atr = wilder(true_range(high, low, close), 14)
        momentum = (close[-1] - close[-11]) / atr
        np.testing.assert_allclose(value_of(bars, "momentum_10"), clipped(momentum), atol=1e-9)


def test_adx_equals_wilders_own_recursion(histories):
    for bars in windows(histories, step=307):
        high, low, close = bars[:, HIGH], bars[:, LOW], bars[:, CLOSE]
        up, down = np.diff(high), -np.diff(low)
        plus = np.where((up > down) & (up > 0), up, 0.0)
        minus = np.where((down > up) & (down > 0), down, 0.0)
        # TA-Lib starts its running sums with one value fewer than the span.
        sums = [series[:13].sum() for series in (plus, minus, true_range(high, low, close))]
        index = []
        for i in range(13, len(up)):
            for j, series in enumerate((plus, minus, true_range(high, low, close))):
                sums[j] += series[i] - sums[j] / 14
            p, m = sums[0] / sums[2], sums[1] / sums[2]
            index.append(100 * abs(p - m) / (p + m) if p + m else 0.0)
        adx = wilder(np.array(index), 14)
        np.testing.assert_allclose(value_of(bars, "adx_14"), adx / 50 - 1, atol=1e-9)


def test_macd_equals_exponential_means_from_their_definition(histories):
    def ema(values, span, start):
        mean = values[start - span + 1 : start + 1].mean()
        out = [mean]
        for value in values[start + 1 :]:
            mean += 2 / (span + 1) * (value - mean)
            out.append(mean)
        return np.array(out)

    for bars in windows(histories, step=307):
        high, low, close = bars[:, HIGH], bars[:, LOW], bars[:, CLOSE]
        # TA-Lib seeds both means so that they begin at the slow one's first bar.
        macd = ema(close, 12, 25) - ema(close, 26, 25)
        atr = wilder(true_range(high, low, close), 14)
        np.testing.assert_allclose(value_of(bars, "macd"), clipped(macd[-1] / atr), atol=1e-9)


def test_mfi_equals_money_flow_from_its_definition(histories):
    compared = 0
    for bars in windows(histories, step=307):
        typical = (bars[:, HIGH] + bars[:, LOW] + bars[:, CLOSE]) / 3
        flow = typical[1:] * bars[1:, VOLUME]
        change = np.diff(typical)[-14:]
        if np.abs(change).min() < 1e-9:
            continue  # an unchanged price: its sign is rounding, and TA-Lib's may differ
        compared += 1
        positive, negative = flow[-14:][change > 0], flow[-14:][change < 0]
        mfi = 100 * positive.sum() / (positive.sum() + negative.sum())
        np.testing.assert_allclose(value_of(bars, "mfi_14"), mfi / 50 - 1, atol=1e-9)
    assert compared > 30


def test_flat_window_is_finite_and_has_no_direction():
    bars = np.full((LOOKBACK, COLUMNS), 100.0)
    bars[:, VOLUME] = 0.0
    values, sigma = feature_values(bars, 0, 0.0)
    assert np.isfinite(values).all()
    assert sigma == 0.0
    for name in ("rsi_14", "stochastic_k", "williams_r_14", "mfi_14", "cci_20", "roc_1", "macd"):
        assert values[FEATURES.index(name)] == 0.0


def test_zero_volume_with_moving_prices_is_finite(histories):
    bars = histories["AAPL"][:LOOKBACK].copy()
    bars[:, VOLUME] = 0.0
    values, _ = feature_values(bars, 3, 0.1)
    assert np.isfinite(values).all()
    assert values[FEATURES.index("mfi_14")] == 0.0


@settings(max_examples=25, deadline=None)
@given(power=st.integers(-8, 8), lot=st.integers(-6, 6), symbol=st.sampled_from(TEN))
def test_features_are_free_of_price_and_volume_units(histories, power, lot, symbol):
    bars = histories[symbol][300 : 300 + LOOKBACK]
    scaled = bars.copy()
    scaled[:, : CLOSE + 1] *= 2.0**power
    scaled[:, VWAP] *= 2.0**power
    scaled[:, VOLUME] *= 2.0**lot
    before, after = feature_row(bars, 5, 0.2)[0], feature_row(scaled, 5, 0.2)[0]
    # log1p of the volume is the one place where its unit shows, faintly.
    faint = FEATURES.index("volume_zscore_60")
    keep = np.arange(len(FEATURES)) != faint
    np.testing.assert_allclose(before[keep], after[keep], atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_any_positive_window_gives_finite_clipped_features(data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    scale = data.draw(st.sampled_from([1e-9, 1e-6, 1e-2, 1.0]))
    rng = np.random.default_rng(seed)
    close = 10.0 ** rng.uniform(-6, 7) * np.exp(np.cumsum(rng.normal(0, scale, LOOKBACK)))
    bars = np.full((LOOKBACK, COLUMNS), np.nan)
    bars[:, CLOSE] = close
    bars[:, OPEN] = np.roll(close, 1)
    bars[:, HIGH] = np.maximum(bars[:, OPEN], close)
    bars[:, LOW] = np.minimum(bars[:, OPEN], close)
    bars[:, VOLUME] = rng.choice([0.0, 1e-8, 1.0, 1e12], LOOKBACK)
    bars[:, VWAP] = close
    bars[:, -1] = 0.0
    row, _ = feature_row(bars, int(rng.integers(0, 86_400)), float(rng.uniform(0, 1)))
    assert row.shape == (len(FEATURES),)
    assert np.isfinite(row).all()
    assert np.abs(row).max() <= CLIP
