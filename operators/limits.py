"""The limits as pure functions on target weights, one number for each symbol.

Weights are signed fractions of equity. Every function returns weights that are nowhere larger
in size than those it was given, so a later limit never undoes an earlier one. `free` marks the
symbols that can trade now; what is held in the others counts, but cannot be changed. Where a
limit binds, weights are cut to its `aim`, a little below it, so that drift in price does not
make it bind again at each bar.
"""

import numpy as np

from models.ppo.rules import Integers
from operators.messages import Flags, Floats


def no_new_exposure(target: Floats, current: Floats, held: Flags) -> Floats:
    """Where `held`, allow a position to shrink or close, but not to open, grow or turn."""
    same_side = target * current > 0.0
    kept = np.where(same_side, np.sign(target) * np.minimum(abs(target), abs(current)), 0.0)
    return np.where(held, kept, target)


def gross_scale(target: Floats, free: Flags, limit: float, aim: float) -> float:
    """Return the factor in [0, 1] on the free weights that keeps gross exposure in `limit`."""
    size = abs(target)
    movable = float(np.where(free, size, 0.0).sum())
    fixed = float(np.where(free, 0.0, size).sum())
    if movable + fixed <= limit or movable == 0.0:
        return 1.0
    return max(aim - fixed, 0.0) / movable


def limit_net(target: Floats, free: Flags, limit: float, aim: float) -> Floats:
    """Scale down the heavier side if |long - short| is above `limit`; the other side stays."""
    net = float(target.sum())
    if abs(net) <= limit:
        return target
    heavy = free & (target * net > 0.0)
    size = float(np.where(heavy, abs(target), 0.0).sum())
    if size == 0.0:
        return target
    factor = max(size - (abs(net) - aim), 0.0) / size
    return np.where(heavy, target * factor, target)


def clusters(closes: Floats, threshold: float) -> Integers:
    """Return each symbol's cluster: the lowest index that it is linked with.

    Two symbols are linked when their one-bar log returns correlate by at least `threshold` in
    size: a long and a short of opposite movers are one bet too. Links chain. `closes` is
    (rows, symbols), oldest first, NaN where unknown; a constant price is linked with nothing.
    """
    size = closes.shape[1]
    labels = np.arange(size)
    if len(closes) < 3:
        return labels
    returns = np.diff(np.log(closes), axis=0)
    returns = np.where(np.isfinite(returns), returns, 0.0)
    centred = returns - returns.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    unit = centred / np.where(scale > 0.0, scale, 1.0)
    # einsum adds in one fixed order; BLAS may not.
    correlation = np.einsum("ti,tj->ij", unit, unit)
    linked = (abs(correlation) >= threshold) | np.eye(size, dtype=np.bool_)
    while True:
        lowest = np.where(linked, labels[None, :], size).min(axis=1)
        if (lowest == labels).all():
            return labels
        labels = lowest


def cluster_gross(target: Floats, labels: Integers) -> Floats:
    """Return the gross exposure of each cluster, at the index of its label."""
    return np.bincount(labels, weights=abs(target), minlength=len(labels))


def limit_clusters(
    target: Floats, free: Flags, labels: Integers, limit: float, aim: float
) -> Floats:
    """Scale down the free weights of each cluster whose gross exposure is above `limit`.

    A cluster of one symbol is not limited: the limit on a symbol is there for that.
    """
    gross = cluster_gross(target, labels)
    fixed = cluster_gross(np.where(free, 0.0, target), labels)
    movable = gross - fixed
    members = np.bincount(labels, minlength=len(labels))
    over = (members > 1) & (gross > limit) & (movable > 0.0)
    # Divided only where it binds: elsewhere the quotient may overflow.
    factor = np.where(over, np.maximum(aim - fixed, 0.0) / np.where(over, movable, 1.0), 1.0)
    return np.where(free, target * factor[labels], target)


def drawdown_rung(rung: int, drawdown: float, steps: tuple[float, ...], recovery: float) -> int:
    """Return the rung of the ladder after `drawdown`; 0 is full size, the last is flat.

    It climbs at once, and comes down one step when the drawdown is below `recovery` times the
    threshold that led there. The last rung is left only by an operator: a flat portfolio
    cannot recover by itself.

    >>> drawdown_rung(0, 0.11, (0.05, 0.10, 0.15), 0.8)
    2
    >>> drawdown_rung(2, 0.09, (0.05, 0.10, 0.15), 0.8)
    2
    >>> drawdown_rung(2, 0.07, (0.05, 0.10, 0.15), 0.8)
    1
    """
    reached = sum(drawdown >= step for step in steps)
    if reached >= rung:
        return reached
    while reached < rung < len(steps) and drawdown < recovery * steps[rung - 1]:
        rung -= 1
    return rung
