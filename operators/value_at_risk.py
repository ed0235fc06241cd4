"""Historical value at risk, and the test of whether its promises were kept."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from operators.messages import Floats

LEVELS = (0.95, 0.99)


def horizon_returns(closes: Floats, horizon: int) -> Floats:
    """Return simple returns over `horizon` bars, overlapping; (rows - horizon, symbols).

    `closes` is (rows, symbols), oldest first; a return from or to an unknown (NaN) price is 0.
    """
    moves = closes[horizon:] / closes[:-horizon]
    moves -= 1.0
    moves[np.isnan(moves)] = 0.0
    return moves


def value_at_risk(sorted_losses: Floats, level: float) -> float:
    """Return the loss, as a fraction of equity, that a share `level` of history stays within.

    It is an observed loss, never an interpolated one: `numpy.quantile(losses, level,
    method="higher")`, which errs on the side of caution when there is little history. A profit
    counts as no loss.

    >>> value_at_risk(np.arange(101) / 100.0, 0.95)
    0.95
    """
    # The tolerance keeps 0.95 * 100 = 95.00000000000001 from being the 96th.
    index = math.ceil(level * (len(sorted_losses) - 1) - 1e-9)
    return max(float(sorted_losses[index]), 0.0)


def portfolio_losses(weights: Floats, moves: Floats) -> Floats:
    """Return what `weights` (symbols,) would have lost over each row of `moves`, ascending."""
    # A plain sum, not a matrix product: BLAS may add in an order that depends on its threads.
    return np.sort(-(moves * weights).sum(axis=1))


def kupiec_p_value(observations: int, exceptions: int, level: float) -> float | None:
    """Return the p-value of Kupiec's proportion-of-failures test; None without observations.

    Small values say that losses beyond the value at risk came more often, or more seldom, than
    `1 - level` promises. The likelihood ratio is chi-square with one degree of freedom, whose
    survival function is erfc(sqrt(x / 2)). Source: Kupiec (1995), J. of Derivatives 3(2).

    >>> round(kupiec_p_value(250, 5, 0.99), 4)
    0.1619
    """
    if observations == 0:
        return None
    share = exceptions / observations

    def log_likelihood(p: float) -> float:
        kept = (observations - exceptions) * math.log1p(-p) if exceptions < observations else 0.0
        return kept + (exceptions * math.log(p) if exceptions else 0.0)

    ratio = 2.0 * (log_likelihood(share) - log_likelihood(1.0 - level))
    return math.erfc(math.sqrt(max(ratio, 0.0) / 2.0))


@dataclass(slots=True)
class Promise:
    """A value at risk that waits for its horizon: what was held, at which prices."""

    bars_left: int
    weights: Floats
    closes: Floats
    limits: tuple[float, ...]  # by LEVELS


@dataclass(slots=True)
class Exceptions:
    """How often the loss of what was held went beyond its value at risk.

    One promise is open at a time, so that the observations do not overlap and are as
    independent as the test asks. The loss is the one of the weights held at the start, without
    later trades or costs ("hypothetical profit and loss").
    """

    observations: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * len(LEVELS))
    promise: Promise | None = None

    def settle(self, closes: Floats) -> None:
        """Count one more bar; at the horizon, compare the loss with what was promised."""
        promise = self.promise
        if promise is None:
            return
        promise.bars_left -= 1
        if promise.bars_left > 0:
            return
        moves = closes / promise.closes - 1.0
        held = np.where(np.isfinite(moves), moves, 0.0) * promise.weights
        loss = -float(held.sum())
        self.observations += 1
        for index, limit in enumerate(promise.limits):
            self.counts[index] += loss > limit
        self.promise = None

    def open(self, horizon: int, weights: Floats, closes: Floats, limits: Any) -> None:
        """Remember a promise, unless one is open or nothing is at risk."""
        if self.promise is None and min(limits) > 0.0:
            self.promise = Promise(horizon, weights.copy(), closes.copy(), tuple(limits))

    def report(self) -> dict[str, Any]:
        """Return counts and p-values by level, JSON-ready."""
        return {
            f"{level:.0%}": {
                "observations": self.observations,
                "exceptions": count,
                "expected": round((1.0 - level) * self.observations, 2),
                "p_value": kupiec_p_value(self.observations, count, level),
            }
            for level, count in zip(LEVELS, self.counts, strict=True)
        }
