"""The market's mood as we see it: fear and greed from prices and news, its trend, and surprise.

The published indices (alternative.me for crypto, CNN for US shares) move once a day. This one is
made of the same kinds of things, each on a scale from 0 (extreme fear) to 100 (extreme greed), and
their mean: momentum, breadth, volatility against its usual level, and the mood of the news. It
stands beside the decisions and takes no part in them.
"""

from math import erf, log2, sqrt

import numpy as np

from operators.messages import Floats

SPAN = 60  # bars of momentum, breadth and recent volatility
LEAST = 3  # times as many bars are needed before volatility has a usual level


def fear_greed(closes: Floats, news: Floats, weight: Floats) -> dict[str, float]:
    """Return the parts that are known and their mean as "index"; empty if none is.

    `closes` is (bars, symbols), oldest first, NaN before a symbol's first price; `news` is each
    symbol's news value in [-1, 1] and `weight` how much news there is, both (symbols,).

    >>> rising = np.exp(np.linspace(0.0, 0.1, 200) + 0.0005 * np.sin(np.arange(200.0)))[:, None]
    >>> found = fear_greed(rising, np.zeros(1), np.zeros(1))
    >>> found["breadth"], found["momentum"] > 95.0, "news" in found
    (100.0, True, False)
    """
    parts = {**_of_prices(closes), **_of_news(news, weight)}
    if parts:
        parts["index"] = sum(parts.values()) / len(parts)
    return parts


def _of_prices(closes: Floats) -> dict[str, float]:
    if len(closes) <= SPAN:
        return {}
    known = np.isfinite(closes).all(axis=0)
    moved = np.diff(np.log(closes[:, known]), axis=0)
    recent = moved[-SPAN:]
    spread = recent.std(axis=0)
    alive = spread > 0.0
    if not alive.any():
        return {}
    prices = closes[-SPAN:, known][:, alive]
    pushed = recent[:, alive].sum(axis=0) / (spread[alive] * sqrt(SPAN))
    parts = {
        "momentum": 50.0 * (1.0 + erf(float(pushed.mean()) / sqrt(2.0))),
        "breadth": 100.0 * float((prices[-1] > prices.mean(axis=0)).mean()),
    }
    if len(moved) >= LEAST * SPAN:
        usual = moved.std(axis=0)[alive]
        # Twice its usual level is fear itself, half of it is all calm.
        parts["volatility"] = 50.0 * (1.0 - float(np.clip(_doublings(spread[alive], usual), -1, 1)))
    return parts


def _doublings(recent: Floats, usual: Floats) -> float:
    return log2(float(np.median(recent / usual)))


def _of_news(news: Floats, weight: Floats) -> dict[str, float]:
    known = np.isfinite(news) & np.isfinite(weight)
    total = float(weight[known].sum())
    if total <= 0.0:
        return {}
    return {"news": 50.0 * (1.0 + float(news[known] @ weight[known]) / total)}
