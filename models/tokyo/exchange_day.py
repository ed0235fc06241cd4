"""One trading day of one stock: orders arrive, and the exchange's rules make prices of them.

Continuous trading is a limit order book under random order flow, whose market orders lean
towards what the stock is worth (`worth`). Auctions and special quotes follow the rules of
`rules`. Inside, prices are rungs of the day's ladder and sizes are lots.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date
from hashlib import blake2b
from random import Random
from typing import Literal

from models.tokyo.book import Book
from models.tokyo.days import DayPlan
from models.tokyo.events import Event
from models.tokyo.rules import YEN, ladder, renewal_interval, renewal_time
from models.tokyo.sessions import Phase
from models.tokyo.tape import Tape
from models.tokyo.worth import Worth

_MICROSECOND = 1000
_MARKET, _RESTING = 0.22, 0.62  # an order is a market order, else rests, else is a cancellation
_LEAN = 0.5  # how much a rung of worth counts in the log odds of buying
_HERDING = 0.6  # and the side of the market order before: order flow is persistent
_DEPTH = 12  # rungs that are filled on each side after an auction
_LARGE_ORDER = 0.03  # share of market orders, eight times the usual
_PATIENCE = 3.0  # rungs from the worth at which the least patient still trade
_MOST_RUNGS = 3  # that one market order may walk
_COUNTER_ORDERS = 25.0  # mean seconds until someone answers a special quote
_ALLOTTED = 0.7  # of the days that end at the limit, somebody was on the other side
# Volume of auctions, as shares of what a usual day trades continuously.
_VOLUMES = {
    "opening": 0.06,
    "afternoon_opening": 0.02,
    "morning_close": 0.01,
    "closing": 0.14,
    "special_quote": 0.03,
    "special_execution": 0.06,
    "allotment": 0.004,
}
_PRINTS_AT_BOUND = date(2024, 11, 5)


class ExchangeDay:
    """The exchange's day in one stock; `events` tells it once, in order of time."""

    def __init__(self, seed: int, plan: DayPlan, *, quotes: bool = True, after: int = 0) -> None:
        """Prepare the day; events up to `after` happen, but are not told."""
        day, code = plan.day, plan.stock.code
        key = f"{seed}/{code}/{day.on.isoformat()}".encode()
        self._rng = Random(int.from_bytes(blake2b(key, person=b"tokyo.orders").digest()))  # noqa: S311 - a simulation
        self._plan = plan
        self._worth = Worth(plan, self._rng)
        self._jump_at = self._worth.jump_at
        self._prices = ladder(plan.lower, plan.upper, plan.table)
        self._top = len(self._prices) - 1
        self._book = Book(len(self._prices))
        self._tape = Tape(plan, self._prices, quotes=quotes, after=after)
        self._now = day.pre_open
        self._last = bisect_left(self._prices, plan.base)  # what the next price is held to
        self._allowed = self._range(self._last)
        self._traded = 0  # time of the last trade
        self._flow = 0.0  # +1 after a market order to buy, -1 after one to sell
        self._special: tuple[int, int] | None = None  # direction, and times it moved on

    def events(self) -> Iterator[Event]:
        """Tell the day's events after `after`, in order of time."""
        day = self._plan.day
        openings, ends = ("opening", "afternoon_opening"), ("morning_close", "")
        self._enter(day.pre_open, Phase.PRE_OPEN)
        self._tape.limits(self._now)
        for place, (begins, until) in enumerate(day.continuous):
            self._enter(begins, Phase.AFTERNOON if place else Phase.MORNING)
            self._open(openings[place], until)
            while self._now < until:
                yield from self._tape.take()
                if self._special is None:
                    self._trade_until(until)
                else:
                    self._wait_until(until)
            self._now = until
            if day.lunch is not None and until == day.lunch[0]:
                self._end_morning(ends[place])
                self._enter(until, Phase.LUNCH)
        if day.continuous_until < day.closes:
            self._enter(day.continuous_until, Phase.PRE_CLOSE)
        self._now = day.closes
        self._close()
        self._enter(day.closes, Phase.CLOSED)
        yield from self._tape.take()

    # ------------------------------------------------------------------------- telling

    def _enter(self, ts: int, phase: Phase) -> None:
        self._now = ts
        self._tape.phase(ts, phase)

    def _trade(
        self, rung: int, lots: int, side: Literal["buy", "sell"] | None, auction: str | None
    ) -> None:
        """Print a trade, and hold the next price to it."""
        self._now = self._traded = max(self._now, self._traded + _MICROSECOND)
        if rung != self._last:
            self._last, self._allowed = rung, self._range(rung)
        self._tape.trade(self._now, rung, lots, side, auction)

    def _tell_quote(self) -> None:
        book = self._book
        bid, ask, lots = book.bid, book.ask, book.lots
        self._tape.quote(self._now, bid, lots[bid], ask, lots[ask] if ask <= self._top else 0)

    def _tell_special(self) -> None:
        assert self._special is not None  # the caller knows
        direction, renewal = self._special
        lots = self._volume("special_quote")
        self._tape.special(self._now, self._last, lots, direction, renewal)

    # ------------------------------------------------------------------------ auctions

    def _open(self, name: str, until: int) -> None:
        """Match all waiting orders at one price, or show a special quote towards it."""
        if self._special is not None:  # it stands since the morning, and is shown anew
            self._tell_special()
            return
        rung, beyond = self._fair()
        low, high = self._allowed
        if beyond == 0 and low <= rung <= high:
            self._now += int(1 + self._rng.random() * 20_000) * _MICROSECOND  # the engine's work
            self._match(rung, name)
            return
        self._begin_special(beyond or (1 if rung > self._last else -1))
        self._now = min(self._now, until)

    def _match(self, rung: int, name: str) -> None:
        self._trade(rung, self._volume(name), None, name)
        self._refill(rung)
        self._tell_quote()

    def _end_morning(self, name: str) -> None:
        if self._special is None:
            rung, _ = self._fair()
            low, high = self._allowed
            self._trade(min(max(rung, low), high), self._volume(name), None, name)

    def _close(self) -> None:
        """Print the closing price, if orders can be matched within what is allowed."""
        plan, rng = self._plan, self._rng
        rung = bisect_left(self._prices, plan.close)
        _, beyond = self._fair()
        if beyond and self._last == (self._top if beyond > 0 else 0):
            if rng.random() < _ALLOTTED:
                self._trade(self._last, self._volume("allotment"), None, "allotment")
            return
        low, high = self._range(self._last, 2)
        if low <= rung <= high:
            self._trade(rung, self._volume("closing"), None, "closing")
        elif plan.day.on >= _PRINTS_AT_BOUND:
            bound = low if rung < low else high
            self._trade(bound, self._volume("special_execution"), None, "special_execution")

    def _volume(self, name: str) -> int:
        stock = self._plan.stock
        usual = stock.orders * _MARKET * stock.lots * self._plan.activity
        return 1 + int(usual * _VOLUMES[name] * (0.5 + self._rng.random()))

    def _refill(self, rung: int) -> None:
        """Lay orders around a price that was just found."""
        book, rng = self._book, self._rng
        book.clear()
        for step in range(_DEPTH):
            for buy, place in ((True, rung - 1 - step), (False, rung + 1 + step)):
                if 0 <= place <= self._top and (step == 0 or rng.random() < 0.8):
                    book.add(place, self._lots(1.5), buy=buy)

    # ------------------------------------------------------------------ special quotes

    def _begin_special(self, direction: int) -> None:
        """Stop matching, and quote as far as the price may go at once."""
        self._last = self._allowed[1] if direction > 0 else self._allowed[0]
        self._allowed = self._range(self._last)
        self._special = (direction, 0)
        self._tell_special()

    def _wait_until(self, until: int) -> None:
        """Let a special quote stand until it is answered, moves on, or the session ends."""
        assert self._special is not None  # the caller knows
        direction, renewal = self._special
        moves_on = min(self._now + renewal_time(self._plan.day.on), until)
        while True:
            self._now += int(self._gap(_COUNTER_ORDERS))
            renews = self._now >= moves_on
            self._now = min(self._now, moves_on)
            if renews and moves_on == until:
                return
            rung, beyond = self._fair()
            ahead = beyond == direction or (rung - self._last) * direction > 0
            low, high = self._allowed
            if not ahead or (renews and beyond != direction and low <= rung <= high):
                self._special = None
                self._match(min(max(rung, low), high), "special_quote")
                return
            if renews:
                break
        before = self._last
        self._last = high if direction > 0 else low
        self._special = (direction, renewal + 1)
        if self._last != before:
            self._allowed = self._range(self._last)
            self._tell_special()

    # -------------------------------------------------------------- continuous trading

    def _trade_until(self, until: int) -> None:
        """Let orders come for the rest of a minute, or until a special quote is shown."""
        pace, holds = self._worth.pace(self._now)
        stop = min(until, holds)
        mean = 60.0 / pace
        while self._special is None:
            self._now += int(self._gap(mean))
            if self._jump_at is not None and self._now >= self._jump_at:
                self._now = max(self._jump_at, self._traded)
                self._jump_at = None
                self._jump(until)
            elif self._now >= stop:  # the next minute draws anew: arrivals have no memory
                self._now = stop
                return
            else:
                self._order(until)
            if self._special is None:
                self._tell_quote()

    def _order(self, until: int) -> None:
        """Take one order: at the market, to rest, or to be cancelled."""
        rng, book = self._rng, self._book
        fair, _ = self._fair()
        kind = rng.random()
        if kind < _MARKET:
            edge = fair - (max(book.bid, 0) + min(book.ask, self._top)) / 2.0
            odds = min(max(_LEAN * edge + _HERDING * self._flow, -20.0), 20.0)
            buy = rng.random() < 1.0 / (1.0 + math.exp(-odds))
            self._flow = 1.0 if buy else -1.0
            lots = self._lots(8.0 if rng.random() < _LARGE_ORDER else 1.0)
            # Who wants to trade at once pays no price far from the worth for it, but waits.
            worst = int(_PATIENCE + self._exponential(_PATIENCE))
            worst = min(fair + worst, self._top) if buy else max(fair - worst, 0)
            if (buy and book.ask <= worst) or (not buy and book.bid >= worst):
                self._at_market(lots, worst, until, buy=buy)
            elif self._allowed[0] <= worst <= self._allowed[1]:
                book.add(worst, lots, buy=buy)
            else:  # it would trade beyond what is allowed, if only someone were there
                self._begin_special(1 if worst > self._last else -1)
        elif kind < _RESTING:
            buy = rng.random() < 0.5
            away = int(self._exponential(3.0))
            rung = min(book.ask - 1, fair - away) if buy else max(book.bid + 1, fair + away)
            if 0 <= rung <= self._top:
                book.add(rung, self._lots(1.2), buy=buy)
        else:
            self._cancel(fair)

    def _cancel(self, fair: int) -> None:
        """Take an order back; those on the wrong side of what the stock is worth go first."""
        rng, book = self._rng, self._book
        if book.bid > fair:
            rung = book.bid
        elif book.ask < fair:
            rung = book.ask
        else:
            away = int(self._exponential(4.0))
            rung = book.bid - away if rng.random() < 0.5 else book.ask + away
        if 0 <= rung <= self._top and book.lots[rung]:
            book.cancel(rung, self._lots(1.2))

    def _at_market(self, lots: int, worst: int, until: int, *, buy: bool) -> None:
        """Execute at the best prices up to `worst`; the rest is cancelled.

        What would go further than is allowed shows a special quote instead.
        """
        book = self._book
        for _ in range(_MOST_RUNGS):
            rung = book.ask if buy else book.bid
            if not 0 <= rung <= self._top or (rung > worst if buy else rung < worst):
                return
            low, high = self._allowed
            if not low <= rung <= high:
                self._begin_special(1 if rung > high else -1)
                return
            if max(self._now, self._traded + _MICROSECOND) >= until:
                return
            done = book.take(lots, buy=buy)
            self._trade(rung, done, "buy" if buy else "sell", None)
            lots -= done
            if lots == 0:
                return

    def _jump(self, until: int) -> None:
        """News: who quotes on the wrong side of it withdraws, and a large order comes."""
        book = self._book
        fair, _ = self._fair()
        buy = fair > self._last
        book.withdraw(fair, buy=not buy)
        low, high = self._allowed
        if not low <= fair <= high:
            self._begin_special(1 if buy else -1)
            return
        for step in range(1, 4):
            rung = fair + step if buy else fair - step
            if 0 <= rung <= self._top:
                book.add(rung, self._lots(2.0), buy=not buy)
        self._at_market(self._lots(8.0), fair + 3 if buy else fair - 3, until, buy=buy)

    # ------------------------------------------------------------------------ numbers

    def _fair(self) -> tuple[int, int]:
        """Return the rung nearest to the worth now, and 1 (-1) if that is above (below) all."""
        prices = self._prices
        price = math.exp(self._worth.at(self._now)) * YEN
        rung = bisect_left(prices, price)
        if rung > self._top:
            return self._top, int(price > prices[-1] + 0.5 * (prices[-1] - prices[-2]))
        if rung == 0:
            return 0, -int(price < prices[0] - 0.5 * (prices[1] - prices[0]))
        return (rung if prices[rung] - price < price - prices[rung - 1] else rung - 1), 0

    def _range(self, rung: int, times: int = 1) -> tuple[int, int]:
        """Return the lowest and highest rung at which the next trade may be."""
        price = self._prices[rung]
        reach = times * renewal_interval(price)
        low = bisect_left(self._prices, price - reach)
        return low, bisect_right(self._prices, price + reach) - 1

    def _lots(self, mean: float) -> int:
        return 1 + int(self._exponential(mean * self._plan.stock.lots))

    def _exponential(self, mean: float) -> float:
        return -mean * math.log(1.0 - self._rng.random())

    def _gap(self, seconds: float) -> float:
        """Return a random time (ns), in whole microseconds."""
        return (1 + int(self._exponential(seconds) * 1e6)) * _MICROSECOND
