"""Is the live hit rate below what is expected, beyond doubt?"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple


class Interval(NamedTuple):
    """A hit rate with its interval, over `judged` outcomes in `spans` spans of time."""

    rate: float
    low: float
    high: float
    judged: int
    spans: int


def hit_rate(spans: Sequence[tuple[int, int]], errors: float) -> Interval | None:
    """Return the hit rate over (hits, judged) of each span, within `errors` standard errors.

    Outcomes within a span overlap and move together; spans much less. So the error is that of a
    ratio of sums over clusters, with spans as the clusters. None where nothing can be said.

    >>> found = hit_rate([(4, 10), (6, 10), (5, 10), (5, 10)], 2.0)
    >>> found.rate, round(found.low, 3), round(found.high, 3), found.judged
    (0.5, 0.418, 0.582, 40)
    """
    judged = sum(count for _, count in spans)
    if len(spans) < 2 or not judged:
        return None
    rate = sum(hits for hits, _ in spans) / judged
    spread = sum((hits - rate * count) ** 2 for hits, count in spans)
    error = sqrt(spread * len(spans) / (len(spans) - 1)) / judged
    return Interval(rate, rate - errors * error, rate + errors * error, judged, len(spans))
