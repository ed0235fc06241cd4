"""Each limit as a pure function."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from operators.limits import (
    cluster_gross,
    clusters,
    drawdown_rung,
    gross_scale,
    limit_clusters,
    limit_net,
    no_new_exposure,
)

SIZE = 5
weights = arrays(np.float64, SIZE, elements=st.floats(-1, 1))
limits = st.floats(0.05, 2.0)
everything = np.ones(SIZE, np.bool_)
STEPS = (0.05, 0.10, 0.15)


def test_held_positions_may_shrink_or_close_but_not_open_grow_or_turn():
    current = np.array([0.0, 0.2, 0.2, 0.2, -0.2])
    target = np.array([0.1, 0.3, 0.1, -0.1, -0.3])

    after = no_new_exposure(target, current, np.ones(5, np.bool_))

    np.testing.assert_array_equal(after, [0.0, 0.2, 0.1, 0.0, -0.2])


@settings(deadline=None)
@given(weights, limits)
def test_gross_is_kept_and_nothing_grows(target, limit):
    after = target * gross_scale(target, everything, limit, limit)

    assert abs(after).sum() <= limit + 1e-9
    assert (abs(after) <= abs(target)).all()


@settings(deadline=None)
@given(weights, limits)
def test_net_is_kept_and_the_lighter_side_stays(target, limit):
    after = limit_net(target, everything, limit, limit)

    assert abs(after.sum()) <= limit + 1e-9
    assert (abs(after) <= abs(target)).all()
    lighter = target * target.sum() <= 0.0
    np.testing.assert_array_equal(after[lighter], target[lighter])


@settings(deadline=None)
@given(weights, limits, arrays(np.int64, SIZE, elements=st.integers(0, SIZE - 1)))
def test_cluster_gross_is_kept_in_clusters_of_several(target, limit, labels):
    after = limit_clusters(target, everything, labels, limit, limit)

    several = np.bincount(labels, minlength=SIZE) > 1
    assert (cluster_gross(after, labels)[several] <= limit + 1e-9).all()
    alone = ~several[labels]
    np.testing.assert_array_equal(after[alone], target[alone])


def test_what_cannot_be_traded_counts_but_stays():
    target = np.array([0.5, 0.5])
    free = np.array([True, False])

    factor = gross_scale(target, free, 0.8, 0.8)

    assert abs(factor - 0.6) < 1e-12


def test_symbols_that_move_together_or_opposite_are_one_cluster():
    random = np.random.default_rng(5)
    base, other = random.normal(0, 1e-3, (2, 128))
    noise = random.normal(0, 2e-4, 128)
    returns = np.column_stack((base, other, -base + noise, np.zeros(128)))
    prices = 100 * np.exp(np.vstack((np.zeros(4), returns.cumsum(axis=0))))

    np.testing.assert_array_equal(clusters(prices, 0.7), [0, 1, 0, 3])


def test_links_chain_into_one_cluster():
    random = np.random.default_rng(7)
    one, two = random.normal(0, 1e-3, (2, 400))
    returns = np.column_stack((one, one + two, two))  # neighbours correlate by 0.71
    prices = 100 * np.exp(returns.cumsum(axis=0))

    np.testing.assert_array_equal(clusters(prices, 0.6), [0, 0, 0])
    np.testing.assert_array_equal(clusters(prices, 0.9), [0, 1, 2])


def test_unknown_prices_make_no_cluster():
    prices = np.full((50, 2), np.nan)

    np.testing.assert_array_equal(clusters(prices, 0.7), [0, 1])


def test_ladder_climbs_at_once_and_comes_down_late():
    rungs, rung = [], 0
    for drawdown in (0.04, 0.05, 0.045, 0.039, 0.12, 0.081, 0.079, 0.0):
        rung = drawdown_rung(rung, drawdown, STEPS, 0.8)
        rungs.append(rung)

    assert rungs == [0, 1, 1, 0, 2, 2, 1, 0]


def test_ladders_last_rung_is_not_left_by_recovery():
    assert drawdown_rung(0, 0.2, STEPS, 0.8) == 3
    assert drawdown_rung(3, 0.0, STEPS, 0.8) == 3
