"""The risk stage: stop latch, identities, JSON, replay equality, and limits that always hold."""

import itertools
import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.fusion import LEGS
from operators.messages import Checkpoint, Decision, Fused, Tally
from operators.risk import CostSettings, Risk, RiskSettings
from operators.sizing import VERDICTS
from operators.stage import freeze, thaw
from tests.desk import Desk, actions, first_reasons, order, weights

COSTLY = CostSettings(fee_bps=10.0, slippage_bps=1.0)


def test_stop_closes_everything_and_latches_until_resume():
    desk = Desk(("A", "B"))
    desk.close_bar((0.9, -0.9))

    stopped = desk.close_bar((0.9, -0.9), notices=(order("stop", "ann", "storm"),))
    held = desk.close_bar((0.9, 0.0))
    resumed = desk.close_bar((0.9, 0.0), notices=(order("resume"),))

    assert actions(stopped) == ["SELL", "BUY"]
    assert weights(stopped) == [0.0, 0.0]
    assert stopped.portfolio.stopped
    assert stopped.portfolio.gross == 0.0
    assert actions(held) == ["HOLD", "HOLD"]
    assert first_reasons(held) == ["emergency_stop", "emergency_stop"]
    assert [signal.approved for signal in held.signals] == [False, True]
    assert held.portfolio.risk["stop"]["actor"] == "ann"
    assert held.portfolio.risk["stop"]["reason"] == "storm"
    assert actions(resumed) == ["BUY", "HOLD"]
    assert not resumed.portfolio.stopped


def test_stop_survives_a_restart_with_who_and_why():
    desk = Desk(("A",))
    desk.close_bar(0.9, notices=(order("stop", "ann", "storm"),))

    resumed = Desk(("A",))
    resumed.seconds = desk.seconds
    thaw(resumed.stage, freeze(desk.stage))
    decision = resumed.close_bar(0.9)

    assert first_reasons(decision) == ["emergency_stop"]
    assert decision.portfolio.risk["stop"]["actor"] == "ann"


def test_second_stop_keeps_the_name_of_the_first():
    desk = Desk(("A",))
    desk.close_bar(notices=(order("stop", "ann"), order("stop", "bob")))

    assert desk.close_bar().portfolio.risk["stop"]["actor"] == "ann"


def test_stop_before_any_symbol_is_ready_is_obeyed():
    desk = Desk(("A",))

    (passed,) = desk.results(ready=False, notices=(order("stop"),))
    assert isinstance(passed, Fused)  # nobody decided on it
    assert first_reasons(desk.close_bar(0.9)) == ["emergency_stop"]


def test_signals_are_given_for_ready_symbols_only():
    desk = Desk(("A", "B", "C"))

    decision = desk.close_bar(0.9, ready=np.array([True, False, True]))

    assert [signal.symbol for signal in decision.signals] == ["A", "C"]
    assert [each.symbol for each in decision.portfolio.holdings] == ["A", "C"]


def test_holding_without_a_bar_is_kept_at_its_last_price():
    desk = Desk(("A", "B"))
    desk.close_bar(0.9)

    decision = desk.close_bar(0.0, 50.0, missing=("B",), notices=(order("stop"),))

    assert [signal.symbol for signal in decision.signals] == ["A"]
    (kept,) = decision.portfolio.holdings
    assert (kept.symbol, kept.price) == ("B", 100.0)


def test_checkpoint_follows_on_time_whether_ready_or_not():
    desk = Desk(("A",), every=2)

    results = [desk.results(ready=ready) for ready in (False, False, True, True)]

    assert [[type(each) for each in result] for result in results] == [
        [Fused],
        [Fused, Checkpoint],
        [Decision],
        [Decision, Checkpoint],
    ]
    assert results[3][1].state == freeze(desk.stage)


def test_signal_id_depends_on_its_causes_only():
    same = [Desk(("A",)).close_bar(score).signals[0].signal_id for score in (0.9, 0.1)]
    desk = Desk(("A",))
    desk.stage.config_hash = "other"

    assert same[0] == same[1]
    assert len(same[0]) == 32
    assert desk.close_bar(0.9).signals[0].signal_id != same[0]


def test_detail_is_json_and_shows_every_leg_and_step():
    desk = Desk(("A",), costs=COSTLY)

    (signal,) = desk.close_bar(0.9).signals

    detail = json.loads(msgspec.json.encode(signal.detail))
    assert json.dumps(detail, allow_nan=False)
    assert tuple(detail["legs"]) == LEGS
    forecast = detail["legs"]["forecast"]
    assert forecast["weight"] == 1.0
    assert forecast["confidence"] == forecast["skill"] * forecast["certainty"]
    assert detail["legs"]["policy"]["abstains"] is True
    assert [each["step"] for each in detail["risk"]] == [
        "entry",
        "size",
        "symbol_limit",
        "volatility_limit",
        "stale_data",
        "session_end",
        "drawdown",
        "cluster_limit",
        "gross_limit",
        "net_limit",
        "var_limit",
        "emergency_stop",
        "minimum_trade",
    ]
    assert all(set(each) == {"step", "before", "after", "why"} for each in detail["risk"])
    assert detail["costs"]["paid"] == pytest.approx(signal.target_position * 100_000 * 0.0011)


def test_numbers_of_a_leg_that_are_not_finite_become_null():
    desk = Desk(("A",))
    fused = desk.fused(0.9)
    broken = msgspec.structs.replace(
        fused.legs[1], detail={"p_long": np.array([np.nan])}, value=np.array([np.inf])
    )
    fused = msgspec.structs.replace(fused, legs=(fused.legs[0], broken, fused.legs[2]))

    (decision,) = desk.stage.on(fused)

    policy = decision.signals[0].detail["legs"]["policy"]
    assert policy["detail"] == {"p_long": None}
    assert policy["value"] is None


def test_buy_and_hold_stands_beside_the_portfolio_at_the_same_costs():
    desk = Desk(("A", "B"), costs=COSTLY)
    desk.close_bar()

    decision = desk.close_bar(0.0, (120.0, 100.0))

    assert decision.portfolio.equity == 100_000.0
    assert decision.portfolio.buy_and_hold == pytest.approx(110_000 / 1.0011)


def test_other_messages_pass_through_unchanged():
    tally = Tally(key="a", name="b", count=1)

    assert list(Desk().stage.on(tally)) == [tally]


def test_settings_that_contradict_one_another_are_refused():
    with pytest.raises(ValueError, match="exit_score < entry_score"):
        RiskSettings(exit_score=0.5)
    with pytest.raises(ValueError, match="limits > 0"):
        RiskSettings(gross_limit=0.0)
    with pytest.raises(msgspec.ValidationError, match="leverage"):
        msgspec.convert({"leverage": 3}, RiskSettings)


SYMBOLS = ("A", "B", "C", "D")
LIMITED = {
    "position_limit": 0.2,
    "gross_limit": 0.5,
    "net_limit": 0.25,
    "cluster_limit": 0.3,
    "var_limit": 0.004,
    "position_volatility": 0.2,
    "correlation_every": 5,
    "correlation_bars": 20,
    "history": 40,
    "var_horizon": 4,
    "var_observations": 10,
    "quiet_bars": 2,
    "session_entry_bars": 1,
}


def walk(seed, bars):
    """Return the arguments of `bars` bar closes at random: prices, scores, volatilities."""
    random = np.random.default_rng(seed)
    common = random.normal(0, 2e-3, (bars, 1))
    closes = 100 * np.exp((common + random.normal(0, 1e-3, (bars, 4))).cumsum(axis=0))
    scores = np.clip(random.normal(0, 0.7, (bars, 4)), -1, 1)
    volatility = random.uniform(2e-5, 4e-4, (bars, 4))
    return list(zip(scores, closes, volatility, strict=True))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_limits_hold_and_books_balance_after_every_pass(seed):
    desk = Desk(SYMBOLS, costs=COSTLY, **LIMITED)
    limits = desk.settings
    for scores, closes, volatility in walk(seed, 60):
        decision = desk.close_bar(scores, closes, volatility=volatility)
        target = np.array(weights(decision))
        portfolio = decision.portfolio

        assert abs(target).max() <= limits.position_limit + 1e-9
        assert abs(target).sum() <= limits.gross_limit + 1e-9
        assert abs(target.sum()) <= limits.net_limit + 1e-9
        for cluster in portfolio.risk["clusters"]:
            members = [SYMBOLS.index(symbol) for symbol in cluster]
            assert abs(target[members]).sum() <= limits.cluster_limit + 1e-9
        if portfolio.var_99 is not None:
            assert portfolio.var_99 <= limits.var_limit + 1e-9
        # Costs are paid out of equity, so what is left is a little heavier.
        assert portfolio.gross <= limits.gross_limit * 1.002
        held = sum(each.quantity * each.price for each in portfolio.holdings)
        assert portfolio.equity == pytest.approx(portfolio.cash + held)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_every_signal_agrees_with_its_own_steps_and_reasons(seed):
    desk = Desk(SYMBOLS, costs=COSTLY, **LIMITED)
    for scores, closes, volatility in walk(seed, 40):
        for signal in desk.close_bar(scores, closes, volatility=volatility).signals:
            steps = signal.detail["risk"]
            change = signal.target_position - signal.detail["position"]
            assert signal.action.value == (
                "BUY" if change > 0 else "SELL" if change < 0 else "HOLD"
            )
            assert steps[-1]["after"] == pytest.approx(signal.target_position, abs=1e-6)
            for before, after in itertools.pairwise(steps):
                assert after["before"] == before["after"]
            for each in steps[2:-1]:
                assert abs(each["after"]) <= abs(each["before"]) + 1e-6
            names = {each["step"] for each in steps} | set(VERDICTS) | {"at_target"}
            assert set(signal.reasons) <= names
            if signal.action == "HOLD":
                assert signal.reasons
            else:
                assert signal.approved


def encoded(decision):
    return msgspec.json.encode((decision.signals, decision.portfolio))


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32 - 1), st.integers(1, 49))
def test_replay_and_resume_give_the_same_bits(seed, cut):
    bars = walk(seed, 50)
    first, second = Desk(SYMBOLS, costs=COSTLY, **LIMITED), Desk(SYMBOLS, costs=COSTLY, **LIMITED)
    whole = [encoded(first.close_bar(a, b, volatility=c)) for a, b, c in bars]
    resumed = []
    for index, (scores, closes, volatility) in enumerate(bars):
        if index == cut:
            frozen = freeze(second.stage)
            second.stage = thaw(Risk(second.settings, COSTLY, SYMBOLS, "test", 10**9), frozen)
        resumed.append(encoded(second.close_bar(scores, closes, volatility=volatility)))

    assert resumed == whole
