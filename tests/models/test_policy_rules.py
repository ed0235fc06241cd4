"""Positions follow from probabilities, the rules and nothing else."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.datasets import ALWAYS
from models.ppo.rules import (
    NEVER_CLOSES,
    PositionRules,
    allowed,
    next_position,
    observe,
    rules_for,
    trade_cost,
)
from models.schema import FEATURES, WINDOW

RULES = PositionRules(min_holding_bars=5, switching_margin=0.1)
SHORT, FLAT, LONG = (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)
COUNT = 4


def moved(probabilities, position=0, held=9, left=100, ready=True, rules=RULES):
    """Return the next position and holding time of one symbol."""
    found = next_position(
        np.array([probabilities]),
        np.array([position]),
        np.array([held]),
        np.array([left]),
        np.array([ready]),
        rules,
    )
    return int(found[0][0]), int(found[1][0])


@pytest.mark.parametrize(("wish", "expected"), [(SHORT, -1), (FLAT, 0), (LONG, 1)])
def test_likeliest_position_is_taken(wish, expected):
    assert moved(wish)[0] == expected


def test_lead_within_the_margin_changes_nothing():
    assert moved((0.30, 0.32, 0.38), position=0) == (0, 10)
    assert moved((0.20, 0.32, 0.48), position=0) == (1, 1)


def test_open_position_is_kept_for_the_least_holding_time():
    assert moved(SHORT, position=1, held=4) == (1, 5)
    assert moved(SHORT, position=1, held=5) == (-1, 1)


def test_flat_may_be_left_at_any_time():
    assert moved(LONG, position=0, held=0) == (1, 1)


def test_all_are_flat_at_the_last_bar_of_a_session_whatever_else_holds():
    assert moved(LONG, position=1, held=1, left=0)[0] == 0
    assert moved(LONG, position=1, held=99, left=0, ready=False)[0] == 0


def test_nothing_is_opened_that_the_session_is_too_short_for():
    assert moved(LONG, position=0, left=4)[0] == 0
    assert moved(LONG, position=0, left=5)[0] == 1
    assert moved(SHORT, position=1, left=4)[0] == 0  # a reversal becomes a close
    assert moved(LONG, position=1, left=4)[0] == 1


def test_market_that_never_closes_has_no_last_bar():
    assert NEVER_CLOSES == ALWAYS
    assert moved(LONG, position=0, left=NEVER_CLOSES)[0] == 1


def test_session_end_may_be_ignored_by_rule():
    overnight = msgspec.structs.replace(RULES, flat_at_session_end=False)

    assert moved(LONG, position=1, held=9, left=0, rules=overnight)[0] == 1


def test_nothing_is_traded_before_the_window_is_full():
    assert moved(LONG, position=0, ready=False)[0] == 0


@pytest.mark.parametrize("column", [0, 1, 2])
def test_probabilities_that_are_not_numbers_change_nothing(column):
    broken = list(SHORT)
    broken[column] = np.nan

    assert moved(broken, position=1)[0] == 1


@given(
    probabilities=arrays.arrays(np.float64, (COUNT, 3), elements=st.floats(0, 1)),
    position=arrays.arrays(np.int64, COUNT, elements=st.integers(-1, 1)),
    held=arrays.arrays(np.int64, COUNT, elements=st.integers(0, 50)),
    left=arrays.arrays(np.int64, COUNT, elements=st.integers(-1, 50)),
    ready=arrays.arrays(np.bool_, COUNT),
)
def test_rules_hold_for_any_probabilities_and_each_symbol_stands_alone(
    probabilities, position, held, left, ready
):
    after, stood = next_position(probabilities, position, held, left, ready, RULES)

    assert set(after) <= {-1, 0, 1}
    assert (after[left == 0] == 0).all()
    assert (stood[after == position] == held[after == position] + 1).all()
    assert (stood[after != position] == 1).all()
    young = (position != 0) & (held < RULES.min_holding_bars) & (left != 0)
    assert (after[young] == position[young]).all()
    for row in range(COUNT):
        one = slice(row, row + 1)
        alone, _ = next_position(
            probabilities[one], position[one], held[one], left[one], ready[one], RULES
        )
        assert alone[0] == after[row]


@given(
    target=st.integers(-1, 1),
    position=st.integers(-1, 1),
    held=st.integers(0, 9),
    left=st.integers(-1, 9),
)
def test_granted_position_is_granted_again_when_asked_for(target, position, held, left):
    state = (np.array([position]), np.array([held]), np.array([left]), np.array([True]))
    granted, stood = allowed(np.array([target]), *state, RULES)

    again, stood_again = allowed(granted, *state, RULES)

    assert (granted[0], stood[0]) == (again[0], stood_again[0])


def test_reversal_costs_two_sides():
    costs = trade_cost(np.array([0.0, 1.0, -2.0]), fee_bps=1.0, slippage_bps=np.array([9, 1, 0.5]))

    assert costs == pytest.approx([0.0, 2e-4, 3e-4])


def test_observation_is_the_row_then_position_then_holding_time_in_windows():
    rows = np.ones((3, len(FEATURES)), np.float32)

    seen = observe(rows, np.array([-1, 1, 0]), np.array([WINDOW // 2, 10 * WINDOW, WINDOW]))

    assert seen.dtype == np.float32
    assert seen[:, -2:].tolist() == [[-1.0, 0.5], [1.0, 1.0], [0.0, 0.0]]


def test_unknown_rule_is_refused():
    with pytest.raises(msgspec.ValidationError, match="min_holding"):
        msgspec.convert({"min_holding": 3}, PositionRules)


def test_seconds_and_minutes_have_their_own_rules():
    assert rules_for(10**9).min_holding_bars > rules_for(60 * 10**9).min_holding_bars
