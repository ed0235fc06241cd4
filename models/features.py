"""Features of one symbol from its last 128 bars: one function for serving and training.

Everything is computed by TA-Lib's own functions or written out here; nothing recurses
beyond the window, so that 187 stored bars give a model's input again bit for bit.
"""

from math import exp, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

# The functions themselves: the package's wrappers look for pandas and polars in each call,
# which costs more than most indicators do.
from talib import MA_Type
from talib import _ta_lib as talib

from models.schema import CLIP

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

OPEN, HIGH, LOW, CLOSE, VOLUME, VWAP, SPREAD, IMBALANCE, QUIET = range(9)
COLUMNS = 9

SIMPLE = MA_Type.SMA

# Below this relative size a volatility or range is rounding noise, not movement.
_FLAT = 1e-9
_RETURN_SPANS = (1, 2, 5, 10, 15, 30, 60)
_X20 = np.arange(20.0) - 9.5  # centred regressor of the OBV slope
_X20_SQUARE = float(_X20 @ _X20)


def one_bar_volatility(closes: Floats) -> float:
    """Return the standard deviation of the last 60 one-bar log returns of `closes`."""
    return _deviation(np.diff(np.log(closes[-61:])))


def _mean(values: Floats) -> float:
    """Return the mean; several times faster than np.mean on these short arrays."""
    return float(values.sum()) / len(values)


def _deviation(values: Floats) -> float:
    """Return the population standard deviation, as np.std but faster on short arrays."""
    centred = values - values.sum() / len(values)
    return sqrt(float(centred @ centred) / len(values))


def _range(values: Floats) -> float:
    """Return the largest less the smallest value."""
    return float(values.max() - values.min())


def _ratio(numerator: float, denominator: float, floor: float) -> float:
    """Divide, or give 0 where the denominator is no more than rounding noise."""
    return numerator / denominator if denominator > floor else 0.0


def _log_ratio(numerator: float, denominator: float, floor: float) -> float:
    """Return log(numerator / denominator), or 0 where either is rounding noise."""
    if numerator <= floor or denominator <= floor:
        return 0.0
    return log(numerator / denominator)


def feature_row(bars: Floats, session_index: int, session_fraction: float) -> tuple[Singles, float]:
    """Compute one row of features, and the one-bar volatility, from the last 128 bars.

    `bars` is (128, COLUMNS), oldest first; the row is (features,) float32, always finite.
    """
    values, sigma = feature_values(bars, session_index, session_fraction)
    return values.astype(np.float32), sigma


def feature_values(
    bars: Floats, session_index: int, session_fraction: float
) -> tuple[Floats, float]:
    """Compute what `feature_row` rounds to single precision: values in [-CLIP, CLIP].

    Sources of the formulas: the TA-Lib functions named here; the rest is written out.
    """
    columns = np.ascontiguousarray(bars.T)  # TA-Lib wants contiguous series
    high, low, close, volume = columns[HIGH], columns[LOW], columns[CLOSE], columns[VOLUME]
    price = float(close[-1])
    log_close = np.log(close)
    returns = log_close[1:] - log_close[:-1]
    sigma = _deviation(returns[-60:])
    atr = float(talib.ATR(high, low, close, 14)[-1])
    flat_range = _FLAT * price

    row = [
        _ratio(float(log_close[-1] - log_close[-1 - span]), sigma * sqrt(span), _FLAT)
        for span in _RETURN_SPANS
    ]
    row.append(_ratio(float(talib.MOM(close, 10)[-1]), atr, flat_range))

    # A flat window has no direction; TA-Lib then gives 0 for some oscillators, which would
    # read as fully oversold, so they are centred only when prices moved within their span.
    row.append(_centred(float(talib.RSI(close, 14)[-1]), close, 128))
    row.append(_centred(float(talib.RSI(close, 5)[-1]), close, 128))
    slow_k, slow_d = talib.STOCH(high, low, close, 14, 3, SIMPLE, 3, SIMPLE)
    moved = float(high[-18:].max() - low[-18:].min()) > flat_range
    row.append((float(slow_k[-1]) - 50.0) / 50.0 if moved else 0.0)
    row.append((float(slow_d[-1]) - 50.0) / 50.0 if moved else 0.0)
    ranged = float(high[-14:].max() - low[-14:].min()) > flat_range
    row.append((float(talib.WILLR(high, low, close, 14)[-1]) + 50.0) / 50.0 if ranged else 0.0)
    row.append(float(talib.CCI(high, low, close, 20)[-1]) / 200.0)
    traded = float(volume[-14:].sum()) > 0.0 and _range(close[-15:]) > flat_range
    row.append(
        (float(talib.MFI(high, low, close, volume, 14)[-1]) - 50.0) / 50.0 if traded else 0.0
    )

    macd, macd_signal, macd_histogram = talib.MACD(close, 12, 26, 9)
    row.extend(
        _ratio(float(series[-1]), atr, flat_range) for series in (macd, macd_signal, macd_histogram)
    )
    row.append(float(talib.ADX(high, low, close, 14)[-1]) / 50.0 - 1.0)
    plus = float(talib.PLUS_DI(high, low, close, 14)[-1])
    minus = float(talib.MINUS_DI(high, low, close, 14)[-1])
    row.append((plus - minus) / 100.0)
    row.extend(
        _ratio(price - float(talib.EMA(close, span)[-1]), atr, flat_range) for span in (8, 21, 55)
    )
    row.extend(_ratio(price - _mean(close[-span:]), atr, flat_range) for span in (20, 60, 120))

    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    half_width = float(upper[-1] - lower[-1]) / 2.0
    row.append(_ratio(price - float(middle[-1]), half_width, flat_range))
    row.append(_log_ratio(half_width / price, sigma * sqrt(20.0), _FLAT))
    row.append(_log_ratio(atr / price, sigma, _FLAT))
    row.append(_log_ratio(_deviation(returns[-10:]), sigma, _FLAT))
    row.append(_log_ratio(_deviation(returns[-120:]), sigma, _FLAT))

    row.extend(_volume_features(close, volume))

    last_range = float(high[-1] - low[-1])
    row.append(_ratio(2.0 * price - float(high[-1]) - float(low[-1]), last_range, flat_range))
    row.append(_ratio(price - float(columns[VWAP, -1]), atr, flat_range))

    row.extend(_quote_features(columns[SPREAD], columns[IMBALANCE], atr, flat_range))

    angle = 2.0 * pi * session_fraction
    row.extend((float(np.sin(angle)), float(np.cos(angle)), exp(-session_index / 15.0)))
    row.append(_mean(columns[QUIET, -20:]))

    values = np.array(row)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=CLIP, neginf=-CLIP)
    return np.clip(values, -CLIP, CLIP), sigma


def _centred(oscillator: float, close: Floats, span: int) -> float:
    """Map an oscillator of [0, 100] to [-1, 1], and a motionless series to 0."""
    if _range(close[-span:]) <= _FLAT * float(close[-1]):
        return 0.0
    return (oscillator - 50.0) / 50.0


def _volume_features(close: Floats, volume: Floats) -> tuple[float, float]:
    """Return the volume's z-score over 60 bars, and the slope of OBV in mean volumes a bar."""
    log_volume = np.log1p(volume[-60:])
    zscore = _ratio(float(log_volume[-1]) - _mean(log_volume), _deviation(log_volume), _FLAT)
    obv = talib.OBV(close, volume)[-20:]
    slope = float(_X20 @ (obv - obv[0])) / _X20_SQUARE
    return zscore, _ratio(slope, _mean(volume[-20:]), 0.0)


def _quote_features(
    spread: Floats, imbalance: Floats, atr: float, flat_range: float
) -> tuple[float, ...]:
    """Return spread, its ratio to 20 bars, imbalance, its 10-bar mean, and has_quotes."""
    if not np.isfinite(spread[-1]):
        return (0.0, 0.0, 0.0, 0.0, 0.0)
    last = float(spread[-1])
    spreads, imbalances = spread[-20:], imbalance[-10:]
    return (
        _ratio(last, atr, flat_range),
        _log_ratio(last, _mean(spreads[np.isfinite(spreads)]), flat_range),
        float(imbalance[-1]),
        _mean(imbalances[np.isfinite(imbalances)]),
        1.0,
    )
