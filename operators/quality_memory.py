"""What quality remembers of one symbol: prices, trade ids and quotes it accepted.

Asking changes nothing; `accept` remembers a trusted message, `suspect` and `doubt` a rejected
one, as a hint that a leap may be real.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from math import log

import msgspec
import numpy as np

from operators.messages import SECOND, Gap, Quote, Tick

_MEDIAN_TO_DEVIATION = 1.4826  # of a normal distribution
_PRICES = 65  # accepted prices that are remembered: 64 returns
_SUPPORT = 3  # quotes that must vouch for an update id before older ones count as outdated


class QualityLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a message is not trusted."""

    interval_ns: int = SECOND
    # How far the recorder's clock ran behind the venue's.
    receive_offset_ns: int = 0
    # Venue time against receipt. Live feeds stay within a second of it; five leave room for
    # a slow link and a recorder whose clock is off.
    stale_ns: int = 5 * SECOND
    future_ns: int = 5 * SECOND
    # An id further ahead than this is not believed alone: no venue trades that often between
    # two messages.
    max_id_leap: int = 100_000
    id_confirmations: int = 3
    # Update ids count every change of the book: a busy one makes some 30 million a day.
    max_update_leap: int = 1_000_000_000
    # If no single trades came for so long, sums of trades are news again.
    trades_forgotten_ns: int = 10 * SECOND
    # A bar is delivered when it has closed; a second is left for clocks that differ.
    bar_future_ns: int = SECOND
    # A price is an outlier when it moved by more than the floor *and* its move is that many
    # robust deviations from what this symbol does. Two percent from one trade to the next
    # is news even in a thin market; bars span nights and earnings.
    price_floor: float = 0.02
    bar_floor: float = 0.25
    max_deviations: float = 10.0
    # So many prices in a row within the floor of each other are the new price.
    price_confirmations: int = 5
    # So many if only one price is known, which may be the wrong one.
    first_confirmations: int = 3
    # So many outliers with no trusted price between them, and it is our notion of this market
    # that is wrong: a thin one that trades from side to side.
    outliers_in_a_row: int = 50
    open_gaps: int = 256  # the oldest is given up first
    # If only outdated quotes came for so long, the venue has begun to count anew.
    quote_ids_forgotten_ns: int = 10 * SECOND


@dataclass(slots=True)
class PriceMemory:
    """The last accepted prices, and the outliers rejected since."""

    accepted: deque[float] = field(default_factory=lambda: deque(maxlen=_PRICES))
    pending: deque[float] = field(default_factory=lambda: deque(maxlen=_PRICES))

    @property
    def proven(self) -> bool:
        """Whether the last price has been vouched for by another."""
        return len(self.accepted) > 1

    def is_outlier(self, price: float, floor: float, limits: QualityLimits) -> bool:
        """Say whether `price` is out of line, and not confirmed by those before it."""
        if not self.accepted:
            return False
        last = self.accepted[-1]
        if last * (1.0 - floor) <= price <= last * (1.0 + floor):
            return False
        returns = np.diff(np.log(self.accepted))
        if len(returns):
            median = float(np.median(returns))
            deviation = _MEDIAN_TO_DEVIATION * float(np.median(np.abs(returns - median)))
            if abs(log(price / last) - median) <= limits.max_deviations * deviation:
                return False
        return not self.confirms(price, floor, limits, proven=self.proven)

    def confirms(self, price: float, floor: float, limits: QualityLimits, *, proven: bool) -> bool:
        """Say whether the last outliers agree with `price`, or are too many to be wrong.

        Fewer are needed where what they contradict is not `proven` itself.
        """
        pending = self.pending
        needed = (limits.price_confirmations if proven else limits.first_confirmations) - 1
        if len(pending) < needed:
            return False
        low, high = price * (1.0 - floor), price * (1.0 + floor)
        return len(pending) >= limits.outliers_in_a_row or all(
            low <= pending[-1 - n] <= high for n in range(needed)
        )

    def accept(self, price: float, limits: QualityLimits) -> None:
        """Remember a trusted price."""
        if self.pending:
            if len(self.pending) >= limits.outliers_in_a_row:
                self.accepted.extend(self.pending)  # so that such swings are normal from now on
            elif len(self.accepted) == 1 and (
                abs(price - self.pending[-1]) < abs(price - self.accepted[0])
            ):
                self.accepted.clear()  # the first price was wrong, and its return no return
            self.pending.clear()
        self.accepted.append(price)

    def suspect(self, price: float) -> None:
        """Remember an outlier, in case more follow that agree."""
        self.pending.append(price)


@dataclass(slots=True)
class OpenGap:
    """Missing trade ids, and those of them that have not come since."""

    first_id: int
    last_id: int
    ts_from: int
    ts_to: int
    missing: list[tuple[int, int]]  # inclusive, ascending
    owed: bool = True  # False before the first id we saw: nobody promised us those
    filled: int = 0

    def lacks(self, trade_id: int) -> bool:
        """Say whether this id is still missing."""
        place = bisect_right(self.missing, (trade_id, 1 << 63)) - 1
        return place >= 0 and trade_id <= self.missing[place][1]

    def fill(self, trade_id: int) -> None:
        """Note that a missing id came after all."""
        place = bisect_right(self.missing, (trade_id, 1 << 63)) - 1
        low, high = self.missing[place]
        self.missing[place : place + 1] = [
            part for part in ((low, trade_id - 1), (trade_id + 1, high)) if part[0] <= part[1]
        ]
        self.filled += 1


@dataclass(slots=True)
class IdMemory:
    """Which trade ids of one tape were seen: all of [first, last] but the gaps' missing ones."""

    first: int = 0
    last: int = -1
    accepted: int = 0
    ts_last: int = 0
    gaps: list[OpenGap] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)  # leaping ids in a row, each near the last

    def seen(self, trade_id: int) -> bool:
        """Say whether this id came before."""
        return self.first <= trade_id <= self.last and not any(
            gap.lacks(trade_id) for gap in self.gaps
        )

    def leaps(self, trade_id: int, limits: QualityLimits) -> bool:
        """Say whether this id is further off than can be believed of one message."""
        reach = limits.max_id_leap
        if self.accepted < limits.id_confirmations:  # nothing to judge by yet
            return False
        if self.first - reach <= trade_id <= self.last + reach:
            return False
        return len(self.near(trade_id, reach)) < limits.id_confirmations - 1

    def near(self, trade_id: int, reach: int) -> list[int]:
        """Return the pending ids if this one follows the last of them closely, else none."""
        follows = self.pending and 0 < trade_id - self.pending[-1] <= reach
        return self.pending if follows else []

    def suspect(self, trade_id: int, reach: int) -> None:
        """Remember an id that leaps, in case more follow."""
        self.pending = [*self.near(trade_id, reach), trade_id][-8:]

    def accept(self, tick: Tick, limits: QualityLimits) -> Gap | None:
        """Remember an accepted trade; return the gap that it proves, or fills in part."""
        trade_id = tick.trade_id
        assert trade_id is not None  # the caller asked
        self.accepted += 1
        if self.pending:
            self.pending.clear()
        before, ts_before = self.last, self.ts_last
        self.ts_last = tick.ts_event
        if trade_id == before + 1 and self.accepted > 1:
            self.last = trade_id
            return None
        far = not self.first - limits.max_id_leap <= trade_id <= before + limits.max_id_leap
        # Until three were accepted no id is believed more than another: begin anew.
        if self.accepted == 1 or (far and self.accepted <= limits.id_confirmations):
            self.first = self.last = trade_id
            self.gaps.clear()
            return None
        if trade_id > before:
            self.last = trade_id
            span = (before + 1, trade_id - 1)
            gap = OpenGap(*span, ts_before, tick.ts_event, [span])
            self.gaps = [*self.gaps, gap][-limits.open_gaps :]
            return self._report(tick, gap)
        if trade_id < self.first:
            span = (trade_id + 1, self.first - 1)
            self.first = trade_id
            if span[0] <= span[1]:
                gap = OpenGap(*span, tick.ts_event, ts_before, [span], owed=False)
                self.gaps = [*self.gaps, gap][-limits.open_gaps :]
            return None
        for gap in self.gaps:
            if gap.lacks(trade_id):
                gap.fill(trade_id)
                if not gap.missing:
                    self.gaps.remove(gap)
                return self._report(tick, gap) if gap.owed else None
        return None

    @staticmethod
    def _report(tick: Tick, gap: OpenGap) -> Gap:
        return Gap(
            symbol=tick.symbol,
            venue=tick.venue,
            first_id=gap.first_id,
            last_id=gap.last_id,
            ts_from=gap.ts_from,
            ts_to=gap.ts_to,
            filled=gap.filled,
        )


@dataclass(slots=True)
class QuoteMemory:
    """The update ids of the last accepted quotes."""

    recent: deque[int] = field(default_factory=lambda: deque(maxlen=64))
    largest: list[int] = field(default_factory=list)  # the three largest, distinct, ascending
    pending: list[int] = field(default_factory=list)  # leaping ids in a row, ascending
    # Quotes in a row that looked outdated: if they go on, it is our memory that is wrong.
    outdated: int = 0
    outdated_since: int = 0
    outdated_last: int = 0

    def seen(self, quote: Quote, limits: QualityLimits) -> bool:
        """Say whether this quote came before, or is older than three that did."""
        update_id, largest = quote.update_id, self.largest
        if update_id is None or not largest or update_id > largest[-1]:
            return False
        if update_id in self.recent or update_id in largest:
            return True
        if len(largest) < _SUPPORT or update_id > largest[0]:
            return False
        return not (
            self.outdated >= limits.price_confirmations
            and update_id > self.outdated_last
            and quote.ts_event - self.outdated_since >= limits.quote_ids_forgotten_ns
        )

    def leaps(self, update_id: int, limits: QualityLimits) -> bool:
        """Say whether this id is further ahead than can be believed of one quote."""
        # The middle one is where two of three are, whichever of them is wrong.
        if len(self.largest) < _SUPPORT or update_id <= self.largest[1] + limits.max_update_leap:
            return False
        return len(self._near(update_id, limits)) < limits.id_confirmations - 1

    def suspect(self, update_id: int, limits: QualityLimits) -> None:
        """Remember an id that leaps, in case more follow."""
        self.pending = [*self._near(update_id, limits), update_id][-limits.id_confirmations :]

    def _near(self, update_id: int, limits: QualityLimits) -> list[int]:
        pending = self.pending
        follows = pending and 0 < update_id - pending[-1] <= limits.max_update_leap
        return pending if follows else []

    def doubt(self, quote: Quote) -> None:
        """Remember a quote that was rejected as outdated."""
        update_id = quote.update_id
        if update_id is None or update_id in self.recent:
            return
        if self.outdated and update_id > self.outdated_last:
            self.outdated += 1
        else:
            self.outdated, self.outdated_since = 1, quote.ts_event
        self.outdated_last = update_id

    def accept(self, update_id: int) -> None:
        """Remember an accepted quote."""
        self.outdated = 0
        if self.pending:
            if update_id > self.pending[-1]:  # a leap that is confirmed: begin anew
                self.largest = []
            self.pending.clear()
        self.recent.append(update_id)
        largest = self.largest
        if len(largest) == _SUPPORT and update_id <= largest[0]:  # after doubt: begin anew
            self.largest = [update_id]
            return
        largest.append(update_id)
        if len(largest) > 1 and update_id < largest[-2]:
            largest.sort()
        if len(largest) > _SUPPORT:
            del largest[0]


@dataclass(slots=True)
class Memory:
    """What quality remembers of one symbol."""

    closed: int = 0  # the last Clock
    trades: PriceMemory = field(default_factory=PriceMemory)
    mids: PriceMemory = field(default_factory=PriceMemory)
    bars: PriceMemory = field(default_factory=PriceMemory)
    tapes: dict[str, IdMemory] = field(default_factory=dict)  # by venue
    quotes: QuoteMemory = field(default_factory=QuoteMemory)
    band: tuple[float, float] | None = None  # the last accepted bid and ask
    # Time and price of the last trades that were told singly: who tells them in sums as well
    # repeats them.
    singles: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_SUPPORT))
    delivered: deque[int] = field(default_factory=lambda: deque(maxlen=64))  # closes of bars
