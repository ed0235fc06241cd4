"""What a study says of rules and horizons is what a hand would reckon."""

from dataclasses import replace

import msgspec
import numpy as np
import polars as pl
import pytest

from models import datasets, runtime
from models.bar_files import read_bars
from models.ppo.actor import Actor
from models.ppo.evaluation import SESSIONS, measure, sessions_of
from models.ppo.market import delayed, hedged, market_of
from models.ppo.replay import replay
from models.ppo.rules import NEVER_CLOSES, PositionRules, rules_for
from models.ppo.study import BANDS, HOLDINGS, lasting, reached, tried
from models.schema import FEATURES
from tests.support import EQKER, MINUTE

DAY = 86_400 * 10**9


@pytest.fixture(scope="module")
def by_symbol():
    frame = read_bars(EQKER, tz="America/New_York", interval=MINUTE)
    frame = frame.filter(pl.col("symbol").is_in(["BAC", "SPY"]))
    return datasets.from_frame(frame, interval_ns=MINUTE, calendar="XNYS")


@pytest.fixture(scope="module")
def market(by_symbol):
    return market_of(by_symbol)


def small(market, returns, left):
    """Return a market of one symbol with these returns and bars left of its session."""
    count = len(returns)
    return replace(
        market,
        ts_close=np.arange(1, count + 1) * MINUTE,
        features=np.zeros((count, len(FEATURES)), np.float32),
        volatility=np.full(count, 1e-3),
        session_left=np.array(left),
        ready=np.ones(count, bool),
        half_spread_bps=np.zeros(count),
        next_return=np.array(returns),
        symbol_of=np.zeros(count, np.int64),
        symbols=("AAA",),
    )


def test_late_order_earns_the_next_return_of_its_session_and_never_the_night(market):
    two_sessions = small(market, [0.1, 0.2, 0.3, 0.4, 0.5, 0.0], [2, 1, 0, 2, 1, 0])
    endless = small(market, [0.1, 0.2, 0.3], [NEVER_CLOSES] * 3)

    assert delayed(two_sessions, 0).next_return.tolist() == [0.1, 0.2, 0.0, 0.4, 0.5, 0.0]
    assert delayed(two_sessions, 1).next_return.tolist() == [0.2, 0.0, 0.0, 0.5, 0.0, 0.0]
    assert delayed(endless, 1).next_return.tolist() == [0.2, 0.3, 0.0]


def test_late_order_never_earns_another_symbols_return(market):
    late = delayed(market, 1)

    assert (late.next_return[np.flatnonzero(np.diff(market.symbol_of))] == 0.0).all()


def test_late_market_replays_to_what_a_report_calls_filled_late(market):
    actor = Actor(runtime.load("policy_1m", kind="policy", interval=MINUTE))
    rules = PositionRules(fee_bps=0.0, slippage_bps=0.0)
    free = replace(market, half_spread_bps=np.zeros(len(market.ts_close)))
    slow = replay(delayed(free, 1), actor.act, rules)

    total = np.log1p(slow.earned[slow.ready.any(1)].sum(1) / 2).sum()
    report = measure(free, replay(free, actor.act, rules), rules)

    assert report["return_filled_late"][0] == pytest.approx(np.expm1(total), abs=1e-4)


def test_hedge_takes_off_the_mean_return_of_the_moment(market):
    stamps, moment = np.unique(market.ts_close[market.ready], return_inverse=True)
    rest = hedged(market).next_return[market.ready]
    both = np.bincount(moment) == 2

    assert both.sum() > len(stamps) / 2
    np.testing.assert_allclose(np.bincount(moment, rest)[both], 0.0, atol=1e-12)


def test_market_of_one_cannot_be_hedged(market):
    alone = small(market, [0.1, 0.2, 0.3], [NEVER_CLOSES] * 3)

    assert hedged(alone).next_return.tolist() == [0.1, 0.2, 0.3]


def test_reached_return_adds_up_the_bars_held_and_stays_in_the_session(market):
    moved = small(market, [0.01, 0.02, 0.04, 0.08, 0.16, 0.32], [5, 4, 3, 2, 1, 0])

    total, known = reached(moved, 2, 1)

    assert known.tolist() == [True, True, True, False, False, False]
    assert total[known] == pytest.approx(
        [np.log(1.02 * 1.04), np.log(1.04 * 1.08), np.log(1.08 * 1.16)]
    )


def test_edge_that_is_planted_is_found_while_it_lasts_and_not_after(by_symbol):
    generator = np.random.Generator(np.random.PCG64(5))
    planted = {}
    for name, bars in by_symbol.items():
        count = len(bars)
        signal = generator.normal(size=count).astype(np.float32)
        features = np.zeros_like(bars.features)
        features[:, 0] = signal
        # The next bar's return, and no later one, follows the feature.
        moved = 1e-3 * (np.r_[0.0, signal[:-1]] + 0.5 * generator.normal(size=count))
        prices = bars.bars.copy()
        prices[:, :4] = (100.0 * np.exp(np.cumsum(moved)))[:, None]
        volatility = np.full(count, 1e-3)
        planted[name] = replace(bars, features=features, bars=prices, volatility=volatility)

    found = {
        (horizon, delay): (ics, edges)
        for horizon, delay, ics, edges in lasting(planted, "1m", int(bars.ts_close[-1]))
    }

    ics, edges = found[5, 0]
    assert len(ics) == 4
    assert min(ics) > 0.2
    assert min(edges) > 5.0
    late_ics, late_edges = found[5, 1]
    assert abs(np.mean(late_ics)) < 0.1
    assert np.mean(late_edges) < np.mean(edges) / 4


def test_rules_that_are_tried_are_those_of_a_replay_under_them(market):
    actor = Actor(runtime.load("policy_1m", kind="policy", interval=MINUTE))
    rules = rules_for(MINUTE)

    found = {(bars, band): figures for bars, band, figures in tried(market, actor, rules, "1m")}

    assert set(found) == {(bars, band) for bars in HOLDINGS["1m"] for band in BANDS}
    other = msgspec.structs.replace(rules, min_holding_bars=30, switching_margin=0.4)
    assert found[30, 0.4] == measure(market, replay(market, actor.act, other), other)
    assert found[5, 0.05]["turnover"] > found[60, 0.4]["turnover"]


def test_whole_sessions_are_drawn_once_there_are_enough_of_them():
    few, of_few = sessions_of(np.arange(SESSIONS - 1) * DAY)
    many, of_many = sessions_of(np.repeat(np.arange(SESSIONS), 3) * DAY)

    assert of_few == {"kind": "hour", "count": SESSIONS - 1}
    assert of_many == {"kind": "session", "count": SESSIONS}
    assert many.tolist() == np.repeat(np.arange(SESSIONS), 3).tolist()
    assert len(few) == SESSIONS - 1
