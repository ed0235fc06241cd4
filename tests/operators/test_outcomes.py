"""Each signal meets its realised return at its horizon, or is counted as dropped."""

import math

import numpy as np
import pytest

from operators.fusion import LEGS, FusionSettings, fuse
from operators.messages import SECOND, BarQuality, Decision, Outcome, Tally
from operators.outcomes import Outcomes
from operators.risk import CostSettings, Risk, RiskSettings
from operators.stage import freeze, thaw
from tests.support import bar, cross_section, leg


def decision(ts_close, close=100.0, value=0.5, quality=BarQuality.OBSERVED, **fields):
    silent = fields.pop("silent", ())
    legs = [
        leg(
            name,
            ts_close,
            (value,),
            abstains=np.array([name in silent]),
            detail={"p_up": np.array([0.8])} if name == "forecast" else {},
        )
        for name in LEGS
    ]
    bars = (bar("A", close, ts_close, quality=quality, **fields),)
    fused = fuse(cross_section(("A",), ts_close, bars=bars), legs, FusionSettings())
    stage = Risk(RiskSettings(), CostSettings(), ("A",), "test", 10**9)
    (made,) = stage.on(fused)
    assert isinstance(made, Decision)
    return made


def run(stage, *decisions):
    return [result for each in decisions for result in stage.on(each)]


def outcomes(results):
    return [each for each in results if isinstance(each, Outcome)]


def tallies(results):
    return {each.name: each.count for each in results if isinstance(each, Tally)}


def test_outcome_is_the_log_return_exactly_at_the_horizon():
    first = decision(1)

    results = run(Outcomes(2), first, decision(2, 105.0), decision(3, 110.0))

    (outcome,) = outcomes(results)
    assert outcome.signal_id == first.signals[0].signal_id
    assert outcome.realised_return == pytest.approx(math.log(1.1))
    assert outcome.ts_close == SECOND
    assert outcome.horizon_ns == 2 * SECOND
    assert outcome.p_up == 0.8
    assert outcome.forecast_value == 0.5
    assert outcome.hit is True
    assert results[0] is first
    assert sum(isinstance(each, Decision) for each in results) == 3


def test_wrong_sign_is_no_hit_and_no_move_is_neither():
    assert outcomes(run(Outcomes(1), decision(1), decision(2, 90.0)))[0].hit is False
    assert outcomes(run(Outcomes(1), decision(1), decision(2, 100.0)))[0].hit is None


def test_leg_that_abstained_has_no_value_to_judge():
    first = decision(1, silent=("forecast", "sentiment"))

    (outcome,) = outcomes(run(Outcomes(1), first, decision(2, 101.0)))

    assert outcome.p_up is None
    assert outcome.forecast_value is None
    assert outcome.sentiment_value is None
    assert outcome.policy_value == 0.5


def test_bar_that_never_comes_drops_the_outcome_and_counts_it():
    stage = Outcomes(1)

    results = run(stage, decision(1), decision(3), decision(4, 101.0))

    assert [each.ts_close for each in outcomes(results)] == [3 * SECOND]
    assert tallies(results) == {"no_bar": 1}


def test_signal_too_near_its_sessions_end_has_no_outcome():
    results = run(
        Outcomes(2),
        decision(1, session_left=2),
        decision(2, session_left=1),
        decision(3, session_left=0),
        decision(4, session_left=9),
        decision(5, session_left=8),
    )

    assert [each.ts_close for each in outcomes(results)] == [1 * SECOND]
    assert tallies(results) == {"session_end": 2}


def test_gap_bar_at_either_end_drops_the_outcome():
    results = run(
        Outcomes(1),
        decision(1),
        decision(2, quality=BarQuality.GAP),
        decision(3),
        decision(4, 101.0),
    )

    assert [each.ts_close for each in outcomes(results)] == [3 * SECOND]
    assert tallies(results) == {"gap": 2}


def test_live_record_counts_hits_and_calibration():
    stage = Outcomes(1)

    run(stage, decision(1, 100.0), decision(2, 101.0), decision(3, 100.0), decision(4, 100.0))

    state = stage.state
    assert (state.hits, state.judged) == (1, 2)
    assert state.predicted[8] == 3
    assert state.rose[8] == 1
    assert state.squared_error == pytest.approx(0.2**2 + 2 * 0.8**2)


def test_waiting_signals_survive_a_restart():
    stage = Outcomes(2)
    run(stage, decision(1), decision(2, 101.0))

    resumed = thaw(Outcomes(2), freeze(stage))

    later = (decision(3, 102.0), decision(4, 99.0))
    assert outcomes(run(resumed, *later)) == outcomes(run(stage, *later))


def test_state_holds_no_more_than_a_horizon():
    stage = Outcomes(3)

    run(stage, *(decision(second) for second in range(1, 30)))

    assert len(stage.state.waiting) == 3


def test_other_messages_pass_through_unchanged():
    tally = Tally(key="a", name="b", count=1)

    assert list(Outcomes(1).on(tally)) == [tally]
