"""What a stock is worth through the day, and how busy its trading is.

Trading minutes follow one another without lunch. The log worth is a Brownian bridge from the
opening's to the closing's, with variance spread over the day in the U-shape of real markets
(Admati and Pfleiderer 1988), times a volatility of its own that lasts for minutes
(clustering). Orders arrive in step with that volatility, so volume and movement go together.
"""

import math
from bisect import bisect_right
from random import Random

from models.tokyo.days import DayPlan
from models.tokyo.rules import MINUTE

_KEPT, _NEW = 0.95, 0.16  # of the log volatility, from minute to minute
_LUNCH_MINUTES = 8.0  # what lunch adds of variance, in minutes of trading
_LOCKED_MARGIN = 1e-3  # a locked day never trades


class Worth:
    """The path of one day; `at` and `pace` are asked of any time of its sessions."""

    def __init__(self, plan: DayPlan, rng: Random) -> None:
        """Draw the day's path."""
        day = plan.day
        starts: list[int] = []  # of minutes
        for begins, until in day.continuous:
            starts.extend(range(begins, until, MINUTE))
        if day.continuous_until < day.closes:
            starts.extend(range(day.continuous_until, day.closes, MINUTE))
        self._starts = starts
        self._closes = day.closes
        count = len(starts)
        shapes = [_u_shape(minute, count) for minute in range(count)]
        lunch = next((i for i in range(1, count) if starts[i] - starts[i - 1] > MINUTE), count)
        level, place, total = 0.0, 0.0, 0.0
        paces: list[float] = []
        nodes: list[tuple[float, float]] = []  # walk and variance so far, at both ends of minutes
        for minute, shape in enumerate(shapes):
            level = _KEPT * level + _NEW * _normal(rng)
            pace = shape * math.exp(level)
            paces.append(pace)
            for variance in (_LUNCH_MINUTES if minute == lunch else 0.0, pace):
                total += variance
                place += math.sqrt(variance) * _normal(rng)
                nodes.append((place, total))
        mean = sum(shapes) / count
        orders = plan.stock.orders * plan.activity / count
        self._pace = [orders * pace / mean for pace in paces]  # a minute
        size = plan.jump[1] if plan.jump else 0.0
        self.jump_at = self._jump_time(plan, starts)
        drift = plan.worth_close - size - plan.worth_open
        scale = plan.stock.volatility * plan.activity / math.sqrt(total)
        path = [
            plan.worth_open + scale * (walk - place * share / total) + drift * share / total
            for walk, share in nodes
        ]
        if plan.locked:  # beyond the limit all day
            ends = (plan.worth_open, plan.worth_close)
            edge = min(ends) if plan.locked > 0 else max(ends)
            path = [edge + plan.locked * _LOCKED_MARGIN] * len(path)
        self._path = list(zip(path[::2], path[1::2], strict=True))  # at a minute's ends
        self._size = size
        self._minute = 0

    def at(self, ts: int) -> float:
        """Return the log worth; in a break, that at its beginning."""
        minute = self._find(ts)
        begins = self._starts[minute]
        share = min(1.0, (ts - begins) / MINUTE)
        left, right = self._path[minute]
        jumped = self._size if self.jump_at is not None and ts >= self.jump_at else 0.0
        return left + share * (right - left) + jumped

    def pace(self, ts: int) -> tuple[float, int]:
        """Return how many orders come a minute, and until when that holds."""
        minute = self._find(ts)
        return self._pace[minute], self._starts[minute] + MINUTE

    def _find(self, ts: int) -> int:
        minute, starts = self._minute, self._starts
        if not starts[minute] <= ts < starts[minute] + MINUTE:
            minute = self._minute = max(0, bisect_right(starts, ts) - 1)
        return minute

    @staticmethod
    def _jump_time(plan: DayPlan, starts: list[int]) -> int | None:
        if plan.jump is None:
            return None
        place = plan.jump[0] * (len(starts) - 1)
        return starts[int(place)] + int((place - int(place)) * MINUTE)


def _u_shape(minute: int, count: int) -> float:
    """Return how busy a trading minute is: most at the open, more towards the close."""
    return 1.0 + 2.2 * math.exp(-minute / 18.0) + 1.1 * math.exp(-(count - 1 - minute) / 16.0)


def _normal(rng: Random) -> float:
    # Of uniform numbers alone: their sequence is the one that Python promises to keep.
    return math.sqrt(-2.0 * math.log(1.0 - rng.random())) * math.cos(math.tau * rng.random())
