"""Out-of-sample statistics of predictions, with intervals by block bootstrap; NumPy only.

A bootstrap repeats a statistic a thousand times. So each statistic is prepared once (sorting
is the costly part) and then is a function of one weight for each row: how often its block
was drawn. With all weights 1 it is the plain statistic.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.features import Floats

Statistic = Callable[[Floats], float]
Integers = NDArray[np.int64]

DRAWS = 1_000
BINS = 15
_DAY = 86_400_000_000_000
_HOUR = 3_600_000_000_000


def _groups(sorted_values: Floats) -> Integers:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.r_[True, sorted_values[1:] != sorted_values[:-1]])


def weighted_auc(up: NDArray[np.bool_], scores: Floats) -> Statistic:
    """Prepare the area under the ROC curve of `scores` for the labels `up`; ties count half."""
    order = np.argsort(scores, kind="stable")
    begins = _groups(scores[order])
    rises = up[order]

    def statistic(weights: Floats) -> float:
        sorted_weights = weights[order]
        positive = np.add.reduceat(np.where(rises, sorted_weights, 0.0), begins)
        negative = np.add.reduceat(np.where(rises, 0.0, sorted_weights), begins)
        pairs = positive.sum() * negative.sum()
        wins = positive @ (np.cumsum(negative) - negative / 2.0)
        return float(wins / pairs) if pairs > 0.0 else float("nan")

    return statistic


def weighted_ic(values: Floats, returns: Floats) -> Statistic:
    """Prepare Spearman's correlation of `values` with the realised `returns`; mid-ranks."""
    value_rank, return_rank = _ranks(values), _ranks(returns)

    def statistic(weights: Floats) -> float:
        total = weights.sum()
        x, y = value_rank(weights), return_rank(weights)
        x = x - (weights @ x) / total
        y = y - (weights @ y) / total
        scale = np.sqrt((weights @ (x * x)) * (weights @ (y * y)))
        return float(weights @ (x * y) / scale) if scale > 0.0 else float("nan")

    return statistic


def _ranks(values: Floats) -> Callable[[Floats], Floats]:
    """Return a function that gives each row's mid-rank under given weights."""
    order = np.argsort(values, kind="stable")
    begins = _groups(values[order])
    sizes = np.diff(np.r_[begins, len(values)])

    def ranks(weights: Floats) -> Floats:
        group = np.add.reduceat(weights[order], begins)
        middle = np.cumsum(group) - group / 2.0
        out = np.empty(len(values))
        out[order] = np.repeat(middle, sizes)
        return out

    return ranks


def weighted_mean(values: Floats) -> Statistic:
    """Prepare the mean of `values`; hit rate and Brier score are such means."""

    def statistic(weights: Floats) -> float:
        total = weights.sum()
        return float(weights @ values / total) if total > 0.0 else float("nan")

    return statistic


def weighted_ece(up: NDArray[np.bool_], probabilities: Floats, bins: int = BINS) -> Statistic:
    """Prepare the expected calibration error over `bins` of equal count.

    Equal count, because forecasts of returns all lie close to one half: bins of equal width
    would put nearly everything into two of them and hide what is wrong within.
    """
    edges = np.quantile(probabilities, np.linspace(0.0, 1.0, bins + 1)[1:-1])
    bin_of = np.searchsorted(edges, probabilities, side="right")
    excess = up.astype(np.float64) - probabilities

    def statistic(weights: Floats) -> float:
        total = weights.sum()
        sums = np.bincount(bin_of, weights * excess, minlength=bins)
        return float(np.abs(sums).sum() / total) if total > 0.0 else float("nan")

    return statistic


def auc(up: NDArray[np.bool_], scores: Floats) -> float:
    """Return the area under the ROC curve.

    >>> auc(np.array([False, True, True]), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    return weighted_auc(up, scores)(np.ones(len(scores)))


def ic(values: Floats, returns: Floats) -> float:
    """Return Spearman's rank correlation, the information coefficient."""
    return weighted_ic(values, returns)(np.ones(len(values)))


def brier(up: NDArray[np.bool_], probabilities: Floats) -> float:
    """Return the mean squared error of `probabilities`."""
    return float(np.mean((probabilities - up) ** 2))


def ece(up: NDArray[np.bool_], probabilities: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error over bins of equal count."""
    return weighted_ece(up, probabilities, bins)(np.ones(len(probabilities)))


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share.

    >>> [round(edge, 3) for edge in wilson(5, 10)]
    [0.237, 0.763]
    >>> wilson(0, 0)
    (0.0, 1.0)
    """
    if n == 0:
        return 0.0, 1.0
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def blocks_of(ts_close: Integers) -> tuple[Integers, dict[str, Any]]:
    """Return each row's block and what the blocks are: UTC days if at least ten, else hours.

    Neighbouring bars share most of their horizon, and all symbols share the market, so rows
    are far from independent: whole days (or hours) are drawn, across all symbols.
    """
    block, kind = days_of(ts_close), "day"
    if block.max(initial=-1) + 1 < 10:
        block, kind = hours_of(ts_close), "hour"
    return block, {"kind": kind, "count": int(block.max(initial=-1)) + 1}


def days_of(ts_close: Integers) -> Integers:
    """Return each row's UTC day as a block, from 0."""
    return np.unique(ts_close // _DAY, return_inverse=True)[1].astype(np.int64)


def hours_of(ts_close: Integers) -> Integers:
    """Return each row's UTC hour as a block, from 0."""
    return np.unique(ts_close // _HOUR, return_inverse=True)[1].astype(np.int64)


def block_bootstrap(
    statistic: Statistic, blocks: Integers, *, seed: int = 7, draws: int = DRAWS
) -> list[float]:
    """Return [estimate, low, high]: the statistic and its 95 % percentile interval.

    `blocks` is (rows,), ids from 0. Blocks are drawn with replacement by a generator seeded
    with `seed`, so the interval repeats. NaN draws (a block of one class only) are left out.
    """
    return interval_of(draws_of(statistic, blocks, seed=seed, draws=draws))


def draws_of(
    statistic: Statistic, blocks: Integers, *, seed: int = 7, draws: int = DRAWS
) -> Floats:
    """Return the statistic, then its value in each draw of blocks, (1 + draws,).

    The same seed and blocks give the same draws: differences of two such arrays are paired.
    """
    count = int(blocks.max()) + 1
    generator = np.random.Generator(np.random.PCG64(seed))
    drawn = generator.multinomial(count, np.full(count, 1.0 / count), size=draws)
    values = [statistic(times[blocks].astype(np.float64)) for times in drawn]
    return np.array([statistic(np.ones(len(blocks))), *values])


def interval_of(drawn: Floats) -> list[float]:
    """Return [estimate, low, high] of what `draws_of` returns."""
    values = drawn[1:][np.isfinite(drawn[1:])]
    if not len(values):
        return [float(drawn[0]), float("nan"), float("nan")]
    low, high = np.quantile(values, (0.025, 0.975))
    return [float(drawn[0]), float(low), float(high)]


def skill_of(ic: list[float], count: int) -> dict[str, Any]:
    """Return a leg's skill for its manifest entry, from its test IC as [estimate, low, high].

    Halfway between the estimate and its lower bound, over 0.10, within [0.02, 1]: one rule for
    every leg, under which neither a lucky estimate nor a wide interval buys weight. An IC of
    0.10 on bars this short would be outstanding.

    >>> skill_of([0.05, 0.01, 0.09], 100)["value"], skill_of([0.02, -0.05, 0.09], 9)["value"]
    (0.3, 0.02)
    """
    estimate, low, _ = ic
    return {
        "value": float(np.clip((estimate + low) / 2.0 / 0.10, 0.02, 1.0)),
        "ic": ic,
        "n": count,
        "how": "halfway from the test IC to its lower 95 % bound, over 0.10",
    }
