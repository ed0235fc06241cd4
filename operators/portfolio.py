"""The paper portfolio: trades to approved weights at the close, pays for it, marks to market.

Equity is cash plus the sum of quantity times price, always. Shorts are paid in cash when sold
and cost no interest: borrowing is not modelled.
"""

from dataclasses import dataclass

import msgspec
import numpy as np

from models.ppo.rules import trade_cost
from operators.messages import Flags, Floats, Holding


class CostSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a trade costs, in basis points of its notional; profiles give their venue's."""

    # Binance spot, taker, lowest tier without discounts: the dearest case, so that nobody is
    # surprised by a venue. US shares: about 0.5.
    fee_bps: float = 10.0
    # Half the spread and a little impact. Liquid pairs quote tighter; a market order of any
    # size does not fill at the mid.
    slippage_bps: float = 1.0

    def __post_init__(self) -> None:
        """Refuse costs that would be income."""
        if not (0.0 <= self.fee_bps < np.inf and 0.0 <= self.slippage_bps < np.inf):
            raise ValueError("fee_bps and slippage_bps must be at least 0 and finite")


@dataclass(slots=True)
class PaperPortfolio:
    """Cash, quantities and last prices, with equal weights bought at the first decision beside.

    Arrays are (symbols,). A price is NaN until the symbol's first bar; then the last one
    stands.
    """

    cash: float
    quantity: Floats
    price: Floats
    peak: float  # the high-water mark that drawdown is measured from
    costs: float = 0.0
    trades: int = 0
    benchmark: Floats | None = None  # quantities

    @staticmethod
    def start(cash: float, symbols: int) -> "PaperPortfolio":
        """Return a portfolio that holds nothing but `cash`."""
        return PaperPortfolio(cash, np.zeros(symbols), np.full(symbols, np.nan), cash)

    def mark(self, closes: Floats) -> None:
        """Take new prices where `closes` has them (NaN: the last price stands)."""
        self.price = np.where(np.isnan(closes), self.price, closes)
        self.peak = max(self.peak, self.equity)

    def values(self) -> Floats:
        """Return the signed value of each holding, (symbols,); 0 where nothing is held."""
        return np.where(self.quantity == 0.0, 0.0, self.quantity * self.price)

    @property
    def equity(self) -> float:
        """Cash plus the value of all holdings."""
        return self.cash + float(self.values().sum())

    @property
    def drawdown(self) -> float:
        """How far equity is below its high-water mark, as a fraction of it."""
        return max(1.0 - self.equity / self.peak, 0.0)

    def weights(self) -> Floats:
        """Return each holding as a signed fraction of equity, (symbols,)."""
        # Nothing can be sized against equity that is gone; the ladder is flat long before.
        return self.values() / max(self.equity, 1e-9)

    def trade(self, target: Floats, changed: Flags, costs: CostSettings) -> Floats:
        """Bring the holdings that `changed` to their `target` weights; return what each paid.

        Fills are at the last price; slippage is charged with the fee, as a share of notional,
        so that the policy's training and this portfolio count costs alike. Weights are of
        equity before costs.
        """
        held = self.values()
        wanted = target * self.equity
        bought = np.where(changed, wanted - held, 0.0)
        paid = trade_cost(bought, costs.fee_bps, costs.slippage_bps)
        after = np.where(target == 0.0, 0.0, wanted / self.price)  # a closed position is exactly 0
        self.quantity = np.where(changed, after, self.quantity)
        self.cash -= float(bought.sum()) + float(paid.sum())
        self.costs += float(paid.sum())
        self.trades += int(changed.sum())
        return paid

    def buy_and_hold(self, starting_cash: float, costs: CostSettings) -> float:
        """Return what equal weights in all symbols with a price would be worth now.

        They are bought at the first call with all of `starting_cash`, costs included.
        """
        known = np.isfinite(self.price)
        if self.benchmark is None:
            rate = float(trade_cost(np.ones(1), costs.fee_bps, costs.slippage_bps)[0])
            each = starting_cash / (1.0 + rate) / max(int(known.sum()), 1)
            self.benchmark = np.where(known, each / self.price, 0.0)
        return float(np.where(self.benchmark == 0.0, 0.0, self.benchmark * self.price).sum())

    def holdings(self, symbols: tuple[str, ...]) -> tuple[Holding, ...]:
        """Return what is held, in the universe's order."""
        return tuple(
            Holding(symbol=symbols[row], quantity=float(self.quantity[row]), price=float(price))
            for row, price in enumerate(self.price.tolist())
            if self.quantity[row] != 0.0
        )
