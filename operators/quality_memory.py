"""What quality remembers of one symbol: prices, quotes and totals it accepted.

Asking changes nothing; `accept` remembers a trusted message, `suspect` and `doubt` a rejected
one, as a hint that a leap may be real.
"""

from collections import deque
from dataclasses import dataclass, field
from math import log, sqrt

import numpy as np

from operators.messages import Quote, Reason, Tick
from operators.quality_ids import IdMemory
from operators.quality_limits import QualityLimits
from operators.switches import Switches

__all__ = ["Memory", "PriceMemory", "QualityLimits", "QuoteMemory", "RunningTotal"]

_MEDIAN_TO_DEVIATION = 1.4826  # of a normal distribution
_PRICES = 65  # accepted prices that are remembered: 64 returns
_SUPPORT = 3  # quotes that must vouch for an update id before older ones count as outdated


@dataclass(slots=True)
class PriceMemory:
    """The last accepted prices, and the outliers rejected since."""

    accepted: deque[float] = field(default_factory=lambda: deque(maxlen=_PRICES))
    pending: deque[float] = field(default_factory=lambda: deque(maxlen=_PRICES))
    ts: int = 0  # venue time of the latest accepted, where prices have one

    @property
    def proven(self) -> bool:
        """Whether the last price has been vouched for by another."""
        return len(self.accepted) > 1

    def is_near(self, price: float, floor: float, limits: QualityLimits, ts: int) -> bool:
        """Say whether `price`, of time `ts`, is within the floor of the last.

        The floor widens with the time between the two: as long as prices come often it does
        not.
        """
        last = self.accepted[-1]
        elapsed = abs(ts - self.ts) if ts else 0
        if elapsed > limits.floor_grows_from_ns:
            grown = floor * sqrt(elapsed / max(limits.floor_grows_from_ns, 1))
            floor = max(floor, min(grown, limits.floor_grows_to))
        return last * (1.0 - floor) <= price <= last * (1.0 + floor)

    def is_outlier(self, price: float, floor: float, limits: QualityLimits, ts: int = 0) -> bool:
        """Say whether `price` is out of line, and not confirmed by those before it.

        `ts` (ns) is when it was; 0 where prices have no time to compare, as bars.
        """
        if not self.accepted:
            return False
        last = self.accepted[-1]
        if last * (1.0 - floor) <= price <= last * (1.0 + floor):  # nearly all end here
            return False
        if self.is_near(price, floor, limits, ts):
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

    def accept(self, price: float, limits: QualityLimits, ts: int = 0) -> None:
        """Remember a trusted price of time `ts`."""
        if ts > self.ts:  # noqa: PLR1730 - the hottest path, and max() costs twice as much
            self.ts = ts
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
class RunningTotal:
    """The last accepted trade of a venue that tells the volume of the day so far."""

    ts: int
    price: float
    told: float | None  # what that trade told; some tell none
    volume: float | None = None  # the last that any told

    def judge(self, tick: Tick) -> Reason | None:
        """Say why `tick` is no news after this one, or None if it is."""
        if (tick.ts_event, tick.price, tick.day_volume) == (self.ts, self.price, self.told):
            return Reason.DUPLICATE  # venues repeat the last one on each subscription
        # A later total holds its volume already; of its price there is a newer one.
        return Reason.STALE if tick.ts_event < self.ts else None

    def size_of(self, tick: Tick, limits: QualityLimits) -> float:
        """Return what was traded since this one: never less than nothing."""
        total = tick.day_volume
        if total is None or self.volume is None:
            return 0.0
        if total >= self.volume:
            return total - self.volume
        # Else it was corrected, or is a sum over a moving day: that is no trade.
        return total if tick.ts_event - self.ts > limits.session_break_ns else 0.0

    def accept(self, tick: Tick) -> None:
        """Remember an accepted trade."""
        self.ts, self.price, self.told = tick.ts_event, tick.price, tick.day_volume
        if tick.day_volume is not None:
            self.volume = tick.day_volume


@dataclass(slots=True)
class Memory:
    """What quality remembers of one symbol."""

    closed: int = 0  # the last Clock
    trades: PriceMemory = field(default_factory=PriceMemory)
    fetched: PriceMemory = field(default_factory=PriceMemory)  # older trades, asked for later
    mids: PriceMemory = field(default_factory=PriceMemory)
    bars: PriceMemory = field(default_factory=PriceMemory)
    tapes: dict[str, IdMemory] = field(default_factory=dict)  # by venue
    quotes: QuoteMemory = field(default_factory=QuoteMemory)
    band: tuple[float, float] | None = None  # the last accepted bid and ask
    # Time and price of the last trades that a feed told singly: who tells them in sums as well
    # repeats them.
    singles: dict[str, deque[tuple[int, float]]] = field(default_factory=dict)  # by feed
    totals: dict[str, RunningTotal] = field(default_factory=dict)  # by venue
    switches: Switches = field(default_factory=Switches)
    delivered: deque[int] = field(default_factory=lambda: deque(maxlen=64))  # closes of bars
