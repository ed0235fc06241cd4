"""The indicators that charts draw are TA-Lib's."""

import json

import numpy as np
import talib

COUNT = """
const [values, done] = arguments;
import("/static/app/indicators.js").then(({ ema, bollinger, rsi, macd }) => done(JSON.stringify({
  ema: ema(values, 9), rsi: rsi(values), bollinger: bollinger(values), macd: macd(values),
  short: [ema([1, 2], 9), rsi([1]), bollinger([]).upper, macd([1, 2]).line],
})));
"""


def test_indicators_are_ta_libs(browser, api):
    closes = 100.0 * np.exp(np.random.default_rng(7).normal(0, 1e-3, 400).cumsum())
    browser.open(f"{api.url}/")

    found = json.loads(browser.driver.execute_async_script(COUNT, closes.tolist()))

    upper, middle, lower = talib.BBANDS(closes, 20, 2.0, 2.0)
    agree(found["ema"], talib.EMA(closes, 9))
    agree(found["rsi"], talib.RSI(closes, 14))
    agree(found["bollinger"]["upper"], upper)
    agree(found["bollinger"]["middle"], middle)
    agree(found["bollinger"]["lower"], lower)
    # TA-Lib begins the fast average of the MACD later than by itself; that wears off.
    line, signal, histogram = (each[-200:] for each in talib.MACD(closes))
    assert np.allclose(found["macd"]["line"][-200:], line, atol=1e-6)
    assert np.allclose(found["macd"]["signal"][-200:], signal, atol=1e-6)
    assert np.allclose(found["macd"]["histogram"][-200:], histogram, atol=1e-6)
    assert found["short"] == [[None, None], [None], [], [None, None]]


def agree(found, wanted):
    """Hold values, null where there are none yet, to TA-Lib's."""
    numbers = np.array([np.nan if each is None else each for each in found])
    assert np.allclose(numbers, wanted, rtol=1e-9, equal_nan=True)
    assert np.isfinite(numbers).sum() > 300
