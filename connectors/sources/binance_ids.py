"""Which trades, quotes and candles of a symbol stand in the log, by their ids; pure.

Trade ids are dense within a symbol's tape, so what is missing is known by id alone.
"""

from bisect import bisect_right
from typing import Protocol

NEVER = -2  # no id came yet; no id follows it
_RECENT = 1024
_REACH = 1000  # ids before the first: it was not the first after all


class Wanting(Protocol):
    """Whose loss missing ids are."""

    wanted: bool  # they are to be fetched now


class Gap[Owner: Wanting]:
    """Ids `first` to `last`, both missing and all between; `owner` is whose loss they are."""

    __slots__ = ("first", "last", "owner")

    def __init__(self, first: int, last: int, owner: Owner | None) -> None:
        self.first = first
        self.last = last
        self.owner = owner

    def __len__(self) -> int:
        """Return how many ids are missing."""
        return self.last - self.first + 1


def _first[Owner: Wanting](gap: Gap[Owner]) -> int:
    return gap.first


def _wanted[Owner: Wanting](gap: Gap[Owner]) -> bool:
    return gap.owner is not None and gap.owner.wanted


class Tape[Owner: Wanting]:
    """The trade ids of one symbol that stand in the log, and those that should.

    >>> tape = Tape()
    >>> tape.take(7)
    >>> gap = tape.take(10)
    >>> gap.first, gap.last, tape.knows(7), tape.knows(8)
    (8, 9, True, False)
    """

    __slots__ = ("floor", "gaps", "newest")

    def __init__(self) -> None:
        """Know of no id."""
        self.newest = NEVER
        self.floor = NEVER  # the oldest known
        self.gaps: list[Gap[Owner]] = []  # ascending, apart from one another

    def knows(self, trade_id: int) -> bool:
        """Say whether the trade stands in the log."""
        if not self.floor <= trade_id <= self.newest:
            return False
        return not self.gaps or self._gap_at(trade_id) is None

    def take(self, trade_id: int) -> Gap[Owner] | None:
        """Note that a trade stands in the log; return the gap before it that this reveals.

        The gap has no owner yet. A trade that a gap lacked is taken out of it; see `owner_of`.
        """
        newest = self.newest
        if trade_id == newest + 1:
            self.newest = trade_id
            return None
        if newest == NEVER:
            self.newest = self.floor = trade_id
            return None
        if trade_id > newest:
            gap: Gap[Owner] = Gap(newest + 1, trade_id - 1, None)
            self.gaps.append(gap)
            self.newest = trade_id
            return gap
        if trade_id < self.floor:
            self._before(trade_id)
        else:
            self._fill(trade_id)
        return None

    def lose(self, trade_id: int, owner: Owner) -> Gap[Owner] | None:
        """Note that a new trade came and does not stand in the log; return a gap before it."""
        leap = self.take(trade_id)
        self._mark(trade_id, trade_id, owner)
        return leap

    def owner_of(self, trade_id: int) -> Owner | None:
        """Return whose loss a missing trade is."""
        gap = self._gap_at(trade_id)
        return None if gap is None else gap.owner

    def forget(self, first: int, last: int) -> int:
        """Miss these ids no longer, and return how many they were."""
        left: list[Gap[Owner]] = []
        count = 0
        for gap in self.gaps:
            if gap.last < first or gap.first > last:
                left.append(gap)
                continue
            count += min(gap.last, last) - max(gap.first, first) + 1
            if gap.first < first:
                left.append(Gap(gap.first, first - 1, gap.owner))
            if gap.last > last:
                left.append(Gap(last + 1, gap.last, gap.owner))
        self.gaps = left
        return count

    def disown(self, owner: Owner) -> tuple[int, int] | None:
        """Want an owner's ids no longer; return the first and last of them.

        They are no duplicates if they come all the same.
        """
        found = [gap for gap in self.gaps if gap.owner is owner]
        for gap in found:
            gap.owner = None
        return (found[0].first, found[-1].last) if found else None

    def page(self, most: int, after: int = NEVER) -> tuple[int, int] | None:
        """Return the first and last id of a page to ask for, of at most `most` ids.

        It begins with the first id missed and wanted behind `after`, and reaches over as many
        gaps as fit; None if there is none.
        """
        wanted = [gap for gap in self.gaps[self._place(after) :] if _wanted(gap)]
        wanted = [gap for gap in wanted if gap.last > after]
        if not wanted:
            return None
        first = max(wanted[0].first, after + 1)
        end = first + most - 1
        last = max(min(gap.last, end) for gap in wanted if gap.first <= end)
        return first, last

    def _place(self, trade_id: int) -> int:
        return max(bisect_right(self.gaps, trade_id, key=_first) - 1, 0)

    def _gap_at(self, trade_id: int) -> Gap[Owner] | None:
        place = bisect_right(self.gaps, trade_id, key=_first) - 1
        if place < 0 or self.gaps[place].last < trade_id:
            return None
        return self.gaps[place]

    def _fill(self, trade_id: int) -> None:
        gaps = self.gaps
        place = bisect_right(gaps, trade_id, key=_first) - 1
        if place < 0 or gaps[place].last < trade_id:
            return
        gap = gaps[place]
        if gap.first == gap.last:
            del gaps[place]
        elif trade_id == gap.first:
            gap.first += 1
        elif trade_id == gap.last:
            gap.last -= 1
        else:
            gaps.insert(place + 1, Gap(trade_id + 1, gap.last, gap.owner))
            gap.last = trade_id - 1

    def _before(self, trade_id: int) -> None:
        # What lies between was never wanted, but is no duplicate if it comes.
        if self.floor - trade_id <= _REACH:
            if trade_id + 1 < self.floor:
                self.gaps.insert(0, Gap(trade_id + 1, self.floor - 1, None))
            self.floor = trade_id

    def _mark(self, first: int, last: int, owner: Owner) -> None:
        before = self.gaps[-1] if self.gaps else None
        if before is not None and before.owner is owner and before.last == first - 1:
            before.last = last
        elif before is None or before.last < first:
            self.gaps.append(Gap(first, last, owner))


class Recent:
    """The last ids of a stream whose ids only rise, as a bookTicker's.

    Two connections that overlap bring each update twice, out of step with one another.
    """

    __slots__ = ("_before", "_now", "newest")

    def __init__(self) -> None:
        """Know of none."""
        self.newest = NEVER
        self._now: set[int] = set()
        self._before: set[int] = set()

    def knows(self, update_id: int) -> bool:
        """Say whether the update came already; those of long ago are forgotten."""
        return update_id <= self.newest and (update_id in self._now or update_id in self._before)

    def take(self, update_id: int) -> None:
        """Note an update."""
        self.newest = max(self.newest, update_id)
        self._now.add(update_id)
        if len(self._now) >= _RECENT:
            self._before = self._now
            self._now = set()


class Candles:
    """Which candles of a symbol came: each closed one once, open ones by when they were told."""

    __slots__ = ("_closed", "_open")

    def __init__(self) -> None:
        """Know of none."""
        self._closed: dict[str, Recent] = {}
        self._open: dict[str, tuple[int, int]] = {}

    def take(self, interval: str, start: int, event: int, *, closed: bool) -> bool:
        """Note a candle of `interval`, told at `event`; False if it came already."""
        if closed:
            starts = self._closed.setdefault(interval, Recent())
            if starts.knows(start):
                return False
            starts.take(start)
            return True
        told = (start, event)
        if told <= self._open.get(interval, (NEVER, NEVER)):
            return False
        self._open[interval] = told
        return True
