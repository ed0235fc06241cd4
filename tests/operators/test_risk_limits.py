"""Each limit can be seen to fire and to clear, in the signals and in the portfolio."""

import numpy as np
import pytest

from operators.messages import Action, BarQuality
from operators.sizing import MULTIPLIERS
from tests.desk import Desk, actions, first_reasons, order, step, weights

FULL = 0.1 / (1e-4 * np.sqrt(365 * 86_400))  # a position of 10 % a year at 1e-4 a second


def test_position_opens_at_the_entry_score_and_is_kept_down_to_the_exit_score():
    desk = Desk(("A",))
    seen = []
    for score in (0.39, 0.41, 0.3, 0.11, 0.09, 0.3):
        decision = desk.close_bar(score)
        seen.append((actions(decision)[0], first_reasons(decision)[0]))

    assert seen == [
        ("HOLD", "below_threshold"),
        ("BUY", None),
        ("HOLD", "no_trade_band"),
        ("HOLD", "no_trade_band"),
        ("SELL", "exit_threshold"),
        ("HOLD", "below_threshold"),
    ]


def test_opposite_score_turns_the_position():
    desk = Desk(("A",))
    desk.close_bar(0.5)

    decision = desk.close_bar(-0.5)

    assert actions(decision) == ["SELL"]
    assert weights(decision) == pytest.approx([-FULL])


def test_score_without_confidence_is_held_and_not_approved():
    desk = Desk(("A",))

    held = desk.close_bar(0.9, skill=0.01)
    cleared = desk.close_bar(0.9, skill=0.5)

    assert (actions(held), first_reasons(held)) == (["HOLD"], ["low_confidence"])
    assert not held.signals[0].approved
    assert actions(cleared) == ["BUY"]
    assert cleared.signals[0].approved


def test_silent_legs_close_the_position_and_then_hold():
    desk = Desk(("A",))
    desk.close_bar(0.9)

    left = desk.close_bar(0.9, skill=0.0)
    flat = desk.close_bar(0.9, skill=0.0)

    assert (actions(left), first_reasons(left)) == (["SELL"], ["exit_threshold"])
    assert (actions(flat), first_reasons(flat)) == (["HOLD"], ["abstained"])
    assert flat.signals[0].approved


def test_size_targets_volatility():
    decision = Desk().close_bar(0.9, volatility=(1e-4, 2e-4))

    assert weights(decision) == pytest.approx([FULL, FULL / 2])


def test_small_change_of_size_is_not_worth_its_cost():
    desk = Desk(("A",))
    desk.close_bar(0.9)

    small = desk.close_bar(0.9, volatility=1.2e-4)
    large = desk.close_bar(0.9, volatility=1.5e-4)

    assert (actions(small), first_reasons(small)) == (["HOLD"], ["at_target"])
    assert actions(large) == ["SELL"]
    assert weights(large) == pytest.approx([FULL / 1.5])


def test_position_too_small_to_matter_is_not_opened():
    held = Desk(("A",)).close_bar(0.9, volatility=2e-2)

    assert (actions(held), first_reasons(held)) == (["HOLD"], ["minimum_trade"])
    assert weights(held) == [0.0]


def test_symbol_limit_cuts_and_clears():
    desk = Desk(("A",), position_limit=0.1)

    cut = desk.close_bar(0.9)
    cleared = desk.close_bar(0.9, volatility=3e-4)

    assert weights(cut) == pytest.approx([0.095])
    assert "symbol_limit" in cut.signals[0].reasons
    assert "symbol_limit" in cut.portfolio.risk["fired"]
    assert step(cut, "symbol_limit")["before"] == pytest.approx(FULL, abs=1e-6)
    assert weights(cleared) == pytest.approx([FULL / 3])
    assert cleared.portfolio.risk["fired"] == []


def test_volatility_limit_stops_new_exposure_until_volatility_is_released():
    desk = Desk(("A",), position_volatility=1.0, position_limit=10.0)
    for _ in range(60):
        desk.close_bar(0.0)

    fired = desk.close_bar(0.9, volatility=3.5e-4)
    still = desk.close_bar(0.9, volatility=2.5e-4)
    cleared = desk.close_bar(0.9, volatility=1.9e-4)

    assert (actions(fired), first_reasons(fired)) == (["HOLD"], ["volatility_limit"])
    assert not fired.signals[0].approved
    assert fired.portfolio.risk["volatile"] == ["A"]
    assert first_reasons(still) == ["volatility_limit"]
    assert actions(cleared) == ["BUY"]
    assert cleared.portfolio.risk["volatile"] == []


@pytest.mark.parametrize(
    ("quality", "bars", "reasons"),
    [(BarQuality.QUIET, 30, ("stale_data",)), (BarQuality.GAP, 3, ("gap", "stale_data"))],
)
def test_stale_data_stops_new_exposure_until_the_next_trade(quality, bars, reasons):
    desk = Desk(("A",))
    for _ in range(bars - 2):
        desk.close_bar(0.0, quality=quality)

    fresh_enough = desk.close_bar(0.0, quality=quality)
    fired = desk.close_bar(0.9, quality=quality)
    cleared = desk.close_bar(0.9)

    assert step(fresh_enough, "stale_data")["why"] == "fresh"
    assert (actions(fired), fired.signals[0].reasons) == (["HOLD"], reasons)
    assert actions(cleared) == ["BUY"]


@pytest.mark.parametrize("quality", list(BarQuality))
@pytest.mark.parametrize("score", [0.0, 0.9])
def test_only_a_signal_decided_on_a_gap_says_so_whatever_it_asks_for(quality, score):
    decision = Desk(("A",)).close_bar(score, quality=quality)
    [signal] = decision.signals

    assert signal.detail["bar"]["quality"] == quality.value
    assert ("gap" in signal.reasons) == (quality is BarQuality.GAP)
    if quality is BarQuality.GAP:
        assert signal.reasons[0] == "gap"
        assert signal.action is (Action.BUY if score else Action.HOLD)


def test_stale_data_still_lets_a_position_be_closed():
    desk = Desk(("A",), gap_bars=1)
    desk.close_bar(0.9)

    decision = desk.close_bar(0.0, quality=BarQuality.GAP)

    assert actions(decision) == ["SELL"]


def test_nothing_opens_near_a_sessions_end_and_all_closes_at_its_last_bar():
    desk = Desk(("A",), session_entry_bars=3)
    held = desk.close_bar(0.9, session_left=2)
    assert (actions(held), first_reasons(held)) == (["HOLD"], ["session_end"])

    desk = Desk(("A",), session_entry_bars=3)
    opened = desk.close_bar(0.9, session_left=3)
    kept = desk.close_bar(0.9, session_left=1)
    closed = desk.close_bar(0.9, session_left=0)
    cleared = desk.close_bar(0.9, session_left=389)

    assert [actions(each)[0] for each in (opened, kept, closed, cleared)] == [
        "BUY",
        "HOLD",
        "SELL",
        "BUY",
    ]
    assert weights(closed) == [0.0]
    assert closed.signals[0].reasons == ("session_end",)


def correlated(count, seed=3):
    random = np.random.default_rng(seed)
    base = random.normal(0, 1e-4, count)
    moves = np.column_stack(
        (base, base + random.normal(0, 2e-5, count), random.normal(0, 1e-4, count))
    )
    return 100 * np.exp(moves.cumsum(axis=0))


def independent(count, seed=4):
    return 100 * np.exp(np.random.default_rng(seed).normal(0, 1e-4, (count, 3)).cumsum(axis=0))


def test_cluster_limit_fires_while_symbols_move_together_and_clears_after():
    desk = Desk(("A", "B", "C"), cluster_limit=0.25, correlation_every=1, rebalance=0.0)
    for closes in correlated(130):
        together = desk.close_bar(0.9, closes)
    for closes in independent(140):
        apart = desk.close_bar(0.9, closes)

    assert together.portfolio.risk["clusters"] == [["A", "B"]]
    assert sum(weights(together)[:2]) <= 0.25
    assert weights(together)[2] == pytest.approx(FULL, abs=0.001)
    assert step(together, "cluster_limit")["after"] < step(together, "cluster_limit")["before"]
    assert apart.portfolio.risk["clusters"] == []
    assert sum(weights(apart)[:2]) > 0.3
    assert "cluster_limit" not in apart.portfolio.risk["fired"]


def test_gross_limit_scales_the_book_down_and_clears():
    desk = Desk(("A", "B", "C"), gross_limit=0.4)

    scaled = desk.close_bar((0.9, -0.9, 0.9))
    cleared = desk.close_bar((0.9, -0.9, 0.0))

    assert sum(map(abs, weights(scaled))) == pytest.approx(0.38)
    assert scaled.signals[0].reasons == ("gross_limit",)
    assert scaled.portfolio.gross <= 0.4
    assert "gross_limit" not in cleared.portfolio.risk["fired"]
    assert sum(map(abs, weights(cleared))) == pytest.approx(2 * FULL)


def test_net_limit_scales_the_heavier_side_and_clears():
    desk = Desk(("A", "B", "C"), net_limit=0.1)

    scaled = desk.close_bar((0.9, 0.9, -0.9))
    cleared = desk.close_bar((0.9, 0.0, -0.9))

    assert sum(weights(scaled)) == pytest.approx(0.095)
    assert weights(scaled)[2] == pytest.approx(-FULL)
    assert "net_limit" in scaled.signals[0].reasons
    assert sum(weights(cleared)) == pytest.approx(0.0)
    assert "net_limit" not in cleared.portfolio.risk["fired"]


def test_value_at_risk_limit_scales_exposure_down_and_clears():
    random = np.random.default_rng(2)
    calm, wild = random.normal(0, 1e-5, 150), random.normal(0, 3e-3, 60)
    desk = Desk(
        ("A",),
        var_limit=0.0008,
        history=139,
        correlation_bars=100,
        drawdown_steps=(0.9, 0.95, 0.99),
    )
    price, seen = 100.0, []
    for move in (*calm, *wild, *calm, *calm[:1]):
        price *= np.exp(move)
        seen.append(desk.close_bar(0.9, price))

    quiet, storm, after = seen[149], seen[205], seen[-1]
    assert quiet.portfolio.risk["fired"] == []
    assert quiet.portfolio.var_99 < 0.0008
    assert "var_limit" in storm.portfolio.risk["fired"]
    assert storm.portfolio.var_99 <= 0.0008
    assert 0.0 < weights(storm)[0] < FULL * 0.6
    assert "var_limit" not in after.portfolio.risk["fired"]
    assert weights(after)[0] == pytest.approx(FULL, rel=0.15)


def test_value_at_risk_waits_for_enough_history():
    desk = Desk(("A",))

    seen = [desk.close_bar(0.9).portfolio.var_99 for _ in range(140)]

    assert seen[136] is None
    assert seen[138] is not None


def test_drawdown_ladder_cuts_sizes_step_by_step_and_recovers_late():
    desk = Desk(("A",), position_volatility=1.0, rebalance=0.0)
    desk.close_bar(0.9)  # all of equity long at 100
    seen = []
    for target in (0.96, 0.94, 0.955, 0.965):
        # The price that brings equity to `target` of its peak.
        portfolio = desk.stage.state.portfolio
        price = (target * portfolio.peak - portfolio.cash) / portfolio.quantity[0]
        decision = desk.close_bar(0.9, price)
        seen.append((decision.portfolio.risk["drawdown_rung"], round(weights(decision)[0], 6)))

    assert seen == [(0, 1.0), (1, 0.5), (1, 0.5), (0, 1.0)]


def test_drawdown_beyond_the_last_step_is_flat_until_an_operator_resumes():
    desk = Desk(("A",), position_volatility=1.0)
    desk.close_bar(0.9)

    flat = desk.close_bar(0.9, 84.0)
    waiting = desk.close_bar(0.9, 120.0)
    resumed = desk.close_bar(0.9, 120.0, notices=(order("resume"),))

    assert MULTIPLIERS[flat.portfolio.risk["drawdown_rung"]] == 0.0
    assert (actions(flat), flat.signals[0].reasons) == (["SELL"], ("drawdown",))
    assert (actions(waiting), first_reasons(waiting)) == (["HOLD"], ["drawdown"])
    assert not waiting.signals[0].approved
    assert actions(resumed) == ["BUY"]
    assert resumed.portfolio.drawdown == 0.0


def test_kupiec_test_counts_the_losses_beyond_the_value_at_risk():
    random = np.random.default_rng(6)
    desk = Desk(("A",))
    price = 100.0
    for _ in range(1000):
        price *= np.exp(random.normal(0, 1e-4))
        decision = desk.close_bar(0.9, price)

    report = decision.portfolio.risk["kupiec"]
    assert report["95%"]["observations"] > 80
    assert report["95%"]["exceptions"] > report["99%"]["exceptions"]
    assert report["95%"]["p_value"] > 0.01


def test_book_of_many_symbols_fills_its_gross_limit_with_small_positions():
    desk = Desk(tuple(f"S{number:03}" for number in range(200)), gross_limit=1.0)
    desk.close_bar([0.9] * 5 + [0.0] * 195)

    decision = desk.close_bar(0.9)

    assert decision.portfolio.gross == pytest.approx(0.95)
    assert max(weights(decision)) < 0.01


def test_reductions_that_a_limit_needs_are_made_however_small():
    desk = Desk(("A", "B"), gross_limit=0.36)
    desk.close_bar(0.9)
    assert sum(weights(desk.close_bar(0.9))) == pytest.approx(2 * FULL)

    drifted = desk.close_bar(0.9, (112.0, 100.0))

    assert sum(weights(drifted)) <= 0.36
    assert drifted.portfolio.gross <= 0.36
    assert step(drifted, "minimum_trade")["why"] == "small reductions are made: they keep a limit"
