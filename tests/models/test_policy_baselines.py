"""What a policy is held against: momentum and the forecast, under its own rules."""

import numpy as np
import polars as pl
import pytest

from models import datasets, runtime
from models.bar_files import read_bars
from models.context import relative_bars
from models.lstm_transformer.forecaster import Forecaster
from models.ppo import evaluation
from models.ppo.baselines import MOVED, forecast_views, momentum, threshold
from models.ppo.market import market_of
from models.ppo.replay import replay
from models.ppo.rules import rules_for
from models.schema import FEATURES
from tests.support import EQKER, MINUTE

RULES = rules_for(MINUTE)


@pytest.fixture(scope="module")
def by_symbol():
    frame = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    frame = frame.filter(pl.col("symbol").is_in(["BAC", "SPY"]))
    return datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")


def rows(*past):
    features = np.zeros((len(past), 1, len(FEATURES)), np.float32)
    features[:, -1, FEATURES.index("roc_15")] = past
    return features


def test_momentum_takes_the_side_of_a_large_move_and_keeps_it_through_small_ones():
    position = np.array([0, -1, 1, -1])
    chances = momentum(15)(rows(MOVED, -MOVED, 0.1, 2.0), position, position, position == 0)
    assert (chances.argmax(1) - 1).tolist() == [1, -1, 1, 1]


def test_threshold_takes_the_forecasts_side_where_it_is_sure():
    act = threshold(np.array([[0.9, -0.9, 0.3], [0.3, 0.9, -0.9]]), level=0.75)
    nothing = np.zeros(3, np.int64)
    first = act(rows(0, 0, 0), nothing, nothing, nothing == 0).argmax(1) - 1
    second = act(rows(0, 0, 0), first, nothing, nothing == 0).argmax(1) - 1
    assert first.tolist() == [1, -1, 0]
    assert second.tolist() == [1, 1, -1]


def test_views_stand_at_the_bars_they_were_made_of(by_symbol):
    forecaster = Forecaster(runtime.load("forecast_1m", kind="forecast", interval=MINUTE))
    market = market_of(by_symbol)
    views = forecast_views(by_symbol, market, forecaster)
    stamps = np.unique(market.ts_close)
    bars = by_symbol["SPY"]
    row = np.flatnonzero(bars.ready)[7]
    read = relative_bars(by_symbol)["SPY"].windows(np.array([row]))
    alone = forecaster.predict_inputs(read, bars.volatility[[row]], np.ones(1, bool))
    at = np.searchsorted(stamps, bars.ts_close[row])
    assert views[at, market.symbols.index("SPY")] == alone.value[0]
    assert not views[np.searchsorted(stamps, bars.ts_close[0])].any()


def test_report_holds_the_policy_against_each(by_symbol):
    forecaster = Forecaster(runtime.load("forecast_1m", kind="forecast", interval=MINUTE))
    policy = runtime.load("policy_1m", kind="policy", interval=MINUTE)
    report = evaluation.evaluate(by_symbol, policy, RULES, allow_seen=False, forecaster=forecaster)
    assert set(report["baselines"]) == {"flat", "buy_and_hold", "momentum", "forecast_threshold"}
    track = replay(market_of(by_symbol), momentum(15), RULES)
    net = (track.earned - track.cost)[track.ready.any(1)].sum(1) / 2
    assert report["baselines"]["momentum"]["return"][0] == pytest.approx(
        np.expm1(np.log1p(net).sum())
    )


def test_only_bars_after_a_moment_are_measured(by_symbol):
    policy = runtime.load("policy_1m", kind="policy", interval=MINUTE)
    after = int(np.median(by_symbol["SPY"].ts_close))
    later = evaluation.evaluate(by_symbol, policy, RULES, allow_seen=False, after=after, skip=10)
    assert later["n"] == sum((bars.ts_close > after).sum() - 10 for bars in by_symbol.values())
