"""Historical value at risk against NumPy, and Kupiec's test against known values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from operators.value_at_risk import (
    Exceptions,
    horizon_returns,
    kupiec_p_value,
    portfolio_losses,
    value_at_risk,
)


@settings(deadline=None)
@given(
    arrays(np.float64, st.integers(1, 400), elements=st.floats(-1, 1)),
    st.sampled_from((0.9, 0.95, 0.99)),
)
def test_value_at_risk_is_numpys_higher_quantile_of_the_losses(losses, level):
    expected = max(np.quantile(losses, level, method="higher"), 0.0)

    assert value_at_risk(np.sort(losses), level) == expected


def test_horizon_returns_overlap_and_take_unknown_prices_as_no_move():
    closes = np.array([[100.0, np.nan], [110.0, np.nan], [121.0, 5.0], [121.0, 10.0]])

    np.testing.assert_allclose(horizon_returns(closes, 2), [[0.21, 0.0], [0.1, 0.0]])


def test_losses_are_those_of_the_weights_over_history():
    moves = np.array([[0.1, 0.0], [-0.1, 0.1], [0.0, 0.3]])

    losses = portfolio_losses(np.array([1.0, -0.5]), moves)

    np.testing.assert_allclose(losses, [-0.1, 0.15, 0.15])


@pytest.mark.parametrize(
    ("observations", "exceptions", "level", "expected"),
    [
        # Likelihood ratios 5.0252, 0.7691, 1.9568 and 5.4970 (Kupiec's table for 250 days at
        # 99 %), through the chi-square distribution with one degree of freedom.
        (250, 0, 0.99, 0.02498),
        (250, 1, 0.99, 0.27798),
        (250, 5, 0.99, 0.16185),
        (250, 7, 0.99, 0.01905),
        (100, 5, 0.95, 1.0),
        (10, 10, 0.95, 0.0),
    ],
)
def test_kupiec_p_values_are_the_known_ones(observations, exceptions, level, expected):
    assert kupiec_p_value(observations, exceptions, level) == pytest.approx(expected, abs=1e-4)


@settings(deadline=None)
@given(st.integers(1, 500), st.data())
def test_kupiec_agrees_with_scipy(observations, data):
    exceptions = data.draw(st.integers(0, observations))
    share = exceptions / observations
    ratio = 2.0 * (
        stats.binom.logpmf(exceptions, observations, share)
        - stats.binom.logpmf(exceptions, observations, 0.01)
    )

    assert kupiec_p_value(observations, exceptions, 0.99) == pytest.approx(
        stats.chi2.sf(max(ratio, 0.0), 1), abs=1e-5
    )


def test_without_observations_there_is_no_p_value():
    assert kupiec_p_value(0, 0, 0.99) is None


def test_loss_beyond_the_promise_is_an_exception_at_its_horizon():
    record = Exceptions()
    record.open(2, np.array([0.5]), np.array([100.0]), (0.01, 0.04))

    record.settle(np.array([90.0]))
    assert record.observations == 0
    record.settle(np.array([95.0]))  # 2.5 % of equity lost

    assert record.observations == 1
    assert record.counts == [1, 0]
    assert record.promise is None


def test_promises_do_not_overlap_and_need_something_at_risk():
    record = Exceptions()
    record.open(2, np.array([0.0]), np.array([100.0]), (0.0, 0.0))
    assert record.promise is None

    record.open(2, np.array([0.5]), np.array([100.0]), (0.01, 0.02))
    first = record.promise
    record.open(2, np.array([0.7]), np.array([100.0]), (0.01, 0.02))

    assert record.promise is first
