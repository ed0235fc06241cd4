"""The paper portfolio's books balance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.portfolio import CostSettings, PaperPortfolio

COSTS = CostSettings(fee_bps=10.0, slippage_bps=5.0)
BOTH = np.array([True, True])


def started(closes=(100.0, 50.0), cash=10_000.0):
    portfolio = PaperPortfolio.start(cash, len(closes))
    portfolio.mark(np.array(closes))
    return portfolio


def test_buying_pays_fee_and_slippage_on_the_notional():
    portfolio = started()

    paid = portfolio.trade(np.array([0.5, -0.2]), BOTH, COSTS)

    np.testing.assert_allclose(portfolio.quantity, [50.0, -40.0])
    np.testing.assert_allclose(paid, [5000 * 0.0015, 2000 * 0.0015])
    assert portfolio.costs == pytest.approx(10.5)
    assert portfolio.cash == pytest.approx(10_000 - 5_000 + 2_000 - 10.5)
    assert portfolio.equity == pytest.approx(10_000 - 10.5)
    assert portfolio.trades == 2


def test_portfolio_marks_to_market_and_remembers_its_peak():
    portfolio = started()
    portfolio.trade(np.array([0.5, 0.0]), BOTH, CostSettings(fee_bps=0.0, slippage_bps=0.0))

    portfolio.mark(np.array([120.0, 50.0]))
    assert portfolio.equity == pytest.approx(11_000)
    portfolio.mark(np.array([98.0, 50.0]))

    assert portfolio.equity == pytest.approx(9_900)
    assert portfolio.drawdown == pytest.approx(0.1)
    np.testing.assert_allclose(portfolio.weights(), [4900 / 9900, 0.0])


def test_absent_symbol_keeps_its_last_price():
    portfolio = started()
    portfolio.trade(np.array([0.5, 0.3]), BOTH, COSTS)
    before = portfolio.equity

    portfolio.mark(np.array([np.nan, 50.0]))

    assert portfolio.equity == before


def test_closed_position_is_exactly_zero():
    portfolio = started((3.33, 7.77))
    portfolio.trade(np.array([0.1, -0.7]), BOTH, COSTS)
    portfolio.mark(np.array([3.1, 8.3]))

    portfolio.trade(np.zeros(2), BOTH, COSTS)

    assert portfolio.quantity.tolist() == [0.0, 0.0]
    assert portfolio.equity == portfolio.cash
    assert portfolio.holdings(("A", "B")) == ()


def test_only_what_changed_is_traded():
    portfolio = started()
    portfolio.trade(np.array([0.5, 0.3]), np.array([True, False]), COSTS)

    assert portfolio.quantity.tolist() == [50.0, 0.0]
    assert portfolio.trades == 1
    assert [each.symbol for each in portfolio.holdings(("A", "B"))] == ["A"]


def test_buy_and_hold_spends_all_cash_at_the_same_costs():
    portfolio = started()

    first = portfolio.buy_and_hold(10_000.0, COSTS)
    portfolio.mark(np.array([110.0, 50.0]))

    assert first == pytest.approx(10_000 / 1.0015)
    assert portfolio.buy_and_hold(10_000.0, COSTS) == pytest.approx(first * 1.05)


def test_costs_that_would_be_income_are_refused():
    with pytest.raises(ValueError, match="fee_bps"):
        CostSettings(fee_bps=-1.0)


moves = st.tuples(
    st.floats(0.8, 1.25), st.floats(0.8, 1.25), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)
)


@settings(deadline=None)
@given(st.lists(moves, max_size=12))
def test_equity_is_cash_plus_holdings_and_loses_only_to_prices_and_costs(path):
    portfolio = started()
    prices = np.array([100.0, 50.0])
    expected = 10_000.0
    for up, other, first, second in path:
        step = np.array([up, other])
        expected += float((portfolio.quantity * prices * (step - 1.0)).sum())
        prices = prices * step
        portfolio.mark(prices)
        expected -= float(portfolio.trade(np.array([first, second]), BOTH, COSTS).sum())

        held = sum(each.quantity * each.price for each in portfolio.holdings(("A", "B")))
        assert portfolio.equity == pytest.approx(portfolio.cash + held)
        assert portfolio.equity == pytest.approx(expected)
