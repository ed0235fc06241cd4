"""Fear and greed from prices and news."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.psychology import LEAST, SPAN, fear_greed

NO_NEWS = (np.zeros(2), np.zeros(2))


def walk(bars, drift=0.0, scale=0.001, symbols=2, seed=0):
    steps = np.random.default_rng(seed).normal(drift, scale, (bars, symbols))
    return 100.0 * np.exp(steps.cumsum(axis=0))


def test_rising_markets_are_greedy_and_falling_ones_afraid():
    up, down = (fear_greed(walk(400, drift), *NO_NEWS) for drift in (0.0005, -0.0005))
    assert up["momentum"] > 75
    assert down["momentum"] < 25
    assert up["index"] > 60
    assert down["index"] < 40


def test_volatility_above_its_usual_level_is_fear():
    calm = walk(LEAST * SPAN, scale=0.0005)
    wild = calm[-1] * walk(SPAN, scale=0.003, seed=1) / 100.0
    assert fear_greed(np.vstack((calm, wild)), *NO_NEWS)["volatility"] < 25
    quiet = calm[-1] * walk(SPAN, scale=0.0001, seed=1) / 100.0
    assert fear_greed(np.vstack((calm, quiet)), *NO_NEWS)["volatility"] > 75


def test_news_counts_by_how_much_of_it_there_is():
    found = fear_greed(np.empty((0, 2)), np.array([1.0, -1.0]), np.array([3.0, 1.0]))
    assert found == {"news": 75.0, "index": 75.0}


def test_what_is_not_known_is_left_out():
    assert fear_greed(walk(SPAN), *NO_NEWS) == {}
    assert set(fear_greed(walk(SPAN + 1), *NO_NEWS)) == {"momentum", "breadth", "index"}
    assert fear_greed(np.full((400, 2), 5.0), *NO_NEWS) == {}


def test_a_symbol_without_all_its_prices_does_not_count():
    closes = walk(400, 0.0005)
    late = closes.copy()
    late[:100, 1] = np.nan
    assert fear_greed(late, *NO_NEWS) == pytest.approx(fear_greed(closes[:, :1], *NO_NEWS))


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(-0.01, 0.01), st.floats(0.0, 0.1))
def test_every_part_stays_on_its_scale(seed, bars, drift, scale):
    rng = np.random.default_rng(seed)
    news, weight = rng.uniform(-1, 1, 2), rng.uniform(0, 5, 2)
    found = fear_greed(walk(bars, drift, scale, seed=seed), news, weight)
    assert all(0.0 <= part <= 100.0 for part in found.values())
