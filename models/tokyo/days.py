"""Each day of a stock before it is traded: base price, limits, and what it will be worth.

A chain over all trading days since 2000, so that a day's base price is the close of the day
before. Every day draws from its own hash of (seed, code, date): the chain to a date is the
same whoever asks, and no other stock has a part in it.
"""

import math
from datetime import date
from hashlib import blake2b
from itertools import islice, takewhile
from typing import NamedTuple

from models.tokyo.listings import Listing, listing
from models.tokyo.rules import (
    YEN,
    Band,
    limits,
    nearest,
    tick_table,
    widening,
)
from models.tokyo.sessions import FIRST_DAY, Day, trading_day, trading_days

_REVERSION = 1.0 / 60.0  # of the log price to that of the assumed price, a day
_OVERNIGHT, _INTRADAY = 0.5, 0.86  # shares of a day's standard deviation; squares sum to 1
_NEWS = 0.015  # of all days
_VOLATILITY_KEPT, _VOLATILITY_NEW = 0.97, 0.06  # of the log volatility, from day to day
_JUMP_FROM, _JUMP_UNTIL = 0.05, 0.70  # shares of the trading time in which a jump may come
_BEYOND = 1e-3  # so far beyond a limit, in log price, nobody trades at it


class DayPlan(NamedTuple):
    """What stands before the first order: prices in tenths of a yen, values in log yen."""

    day: Day
    stock: Listing
    table: tuple[Band, ...]
    base: int  # the last close, or the special quote (at a limit) with which yesterday ended
    lower: int
    upper: int
    close: int  # what the closing auction aims at
    worth_open: float
    worth_close: float
    jump: tuple[float, float] | None  # share of the trading time, and size, of a news jump
    activity: float  # orders and volatility, against a usual day's
    locked: int  # 1 (-1) where all want to buy (sell) beyond the limit, all day


class Chain:
    """The plans of one stock, made in the order of the days and kept."""

    def __init__(self, seed: int, code: str) -> None:
        """Begin in 2000, at the assumed price."""
        self.stock = listing(code)
        self._key = f"{seed}/{code}".encode()
        self._target = math.log(self.stock.price)
        self._worth = self._target
        self._close = nearest(self.stock.price * YEN, tick_table(self.stock.group, FIRST_DAY))
        self._heat = 0.0  # log of the volatility against its mean
        self._locked: list[int] = []  # the last days' directions
        self._wide = 0  # direction in which the limit is widened
        self._plans: dict[date, DayPlan] = {}

    def plan(self, on: date) -> DayPlan | None:
        """Return the plan of a date, or None where Tokyo is closed that day.

        Raises:
            TokyoError: The date is before 2000 or after 2099.
        """
        if trading_day(on) is None:
            return None
        if on not in self._plans:
            days = islice(trading_days(on.year // 10).values(), len(self._plans), None)
            for day in takewhile(lambda day: day.on <= on, days):
                self._plans[day.on] = self._next(day)
        return self._plans[on]

    def _next(self, day: Day) -> DayPlan:
        stock = self.stock
        gap, move, heat, news, size, side, when = self._draw(day.on)
        self._heat = _VOLATILITY_KEPT * self._heat + _VOLATILITY_NEW * heat
        activity = math.exp(self._heat)
        scale = stock.volatility * activity
        opened = self._worth + _REVERSION * (self._target - self._worth)
        opened += scale * _OVERNIGHT * gap
        jump: tuple[float, float] | None = None
        if news < _NEWS:
            leap = stock.volatility * (2.5 - 2.5 * math.log(1.0 - size)) * (1 if side < 0.5 else -1)
            if news < 0.6 * _NEWS:  # most news comes while the market is closed
                opened += leap
            else:
                jump = (_JUMP_FROM + (_JUMP_UNTIL - _JUMP_FROM) * when, leap)
        closed = opened + scale * _INTRADAY * move + (jump[1] if jump else 0.0)
        return self._bounded(day, opened, closed, jump, activity)

    def _bounded(
        self,
        day: Day,
        opened: float,
        closed: float,
        jump: tuple[float, float] | None,
        activity: float,
    ) -> DayPlan:
        """Hold the day within its limits, and learn what it does to those of tomorrow."""
        table = tick_table(self.stock.group, day.on)
        base = nearest(self._close, table)  # the table may have changed overnight
        days, factor = widening(day.on)
        lower, upper = limits(
            base,
            table,
            down=factor if self._wide < 0 else 1,
            up=factor if self._wide > 0 else 1,
        )
        top, bottom = math.log(upper / YEN) + _BEYOND, math.log(lower / YEN) - _BEYOND
        locked = int(opened > top and closed > top) - int(opened < bottom and closed < bottom)
        close = min(max(nearest(math.exp(closed) * YEN, table), lower), upper)
        plan = DayPlan(
            day=day,
            stock=self.stock,
            table=table,
            base=base,
            lower=lower,
            upper=upper,
            close=close,
            worth_open=opened,
            worth_close=closed,
            jump=None if locked else jump,
            activity=activity,
            locked=locked,
        )
        # What a limit held back is made up for on the days that follow.
        self._worth, self._close = closed, close
        self._locked = [*self._locked, locked][-days:]
        if locked == 0 or locked != self._wide:
            alike = len(self._locked) == days and set(self._locked) == {locked}
            self._wide = locked if alike else 0
        return plan

    def _draw(self, on: date) -> tuple[float, float, float, float, float, float, float]:
        """Return three normal and four uniform numbers that belong to this date alone."""
        digest = blake2b(self._key + b"/%d" % on.toordinal(), person=b"tokyo.day").digest()
        u = [(int.from_bytes(digest[i : i + 8]) >> 11) / 2**53 for i in range(0, 64, 8)]
        radius, angle = math.sqrt(-2.0 * math.log(1.0 - u[0])), 2.0 * math.pi * u[1]
        third = math.sqrt(-2.0 * math.log(1.0 - u[2])) * math.cos(2.0 * math.pi * u[3])
        return (radius * math.cos(angle), radius * math.sin(angle), third, u[4], u[5], u[6], u[7])
