"""Tell a clock that moved from a time that is rubbish."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

SECOND = 1_000_000_000
STEP = 5 * SECOND
LEAP = 60 * SECOND
_DOUBTS = 64  # doubtful items held at once, so that noise cannot fill the memory


@dataclass(slots=True)
class Doubt(Generic[T]):  # noqa: UP046 - pickled state: kept plain
    """An item that waits, and the longest run of waiting items that it ends."""

    time: int
    item: T
    run: list[int]  # their times, this one's included
    first: int  # which arrival began it
    arrival: int


@dataclass(slots=True)
class LeapGuard(Generic[T]):  # noqa: UP046 - pickled state: kept plain
    """Accept items whose time goes on from `current`; hold those that leap until it is clear.

    An item whose time is more than `limit` from `current`, either way, and the very first
    item, waits until the next items confirm it: `confirmations` in a row, itself included, each
    at most `limit` before and `reach` after the one before. So the first after a pause is
    confirmed by the flow that follows, and one stamped ahead of a flow is not. An item that goes
    on from `current` in the meantime refutes all that wait. Apart from the wait, a refuted
    item leaves no trace: the others fare as if it had not been there.

    >>> guard = LeapGuard(current=1_000_000_000)
    >>> guard.push(2_000_000_000, "tick")
    [('tick', True)]
    >>> guard.push(9_000_000_000_000_000_000, "year 2255")
    []
    >>> guard.push(3_000_000_000, "tock")
    [('year 2255', False), ('tock', True)]
    """

    current: int | None = None
    limit: int = STEP
    reach: int = LEAP
    confirmations: int = 3
    doubts: list[Doubt[T]] = field(default_factory=list)  # in order of arrival
    arrivals: int = 0
    spacing: int = 0  # of items so sparse that each waits, as far as confirmed

    def push(self, time: int, item: T) -> list[tuple[T, bool]]:
        """Take an item; return what is now clear in order of arrival, and whether it holds."""
        if self.current is not None and abs(time - self.current) <= self.limit:
            self.current = time
            return [*self._refute(), (item, True)] if self.doubts else [(item, True)]
        self.arrivals += 1
        doubt = Doubt(time, item, [time], self.arrivals, self.arrivals)
        before = [d for d in self.doubts if -self.limit <= time - d.time <= self.reach]
        if before:
            best = max(before, key=lambda d: (len(d.run), -abs(time - d.time)))
            doubt.run, doubt.first = [*best.run, time], best.first
        self.doubts.append(doubt)
        if len(doubt.run) >= self.confirmations:
            return self._settle(doubt)
        return [(self.doubts.pop(0).item, False)] if len(self.doubts) > _DOUBTS else []

    def end(self) -> list[tuple[T, bool]]:
        """Return what still waits when input ends and nothing can confirm it any more.

        It holds only where it is as near as the items are sparse, and where no item ever held:
        then the longest run does, so that one or two items can be a whole input.
        """
        out: list[tuple[T, bool]] = []
        if self.current is None and self.doubts:
            out += self._settle(max(self.doubts, key=lambda d: len(d.run)))
        ahead = 2 * max(self.limit, self.spacing)
        while self.doubts and self.current is not None:
            current = self.current
            near = [d for d in self.doubts if -self.limit <= d.time - current <= ahead]
            if not near:
                break
            near[0].run, near[0].first = [near[0].time], near[0].arrival
            out += self._settle(near[0])
        return out + self._refute()

    def _settle(self, last: Doubt[T]) -> list[tuple[T, bool]]:
        """Accept the item that began the run `last` ends; ask again about what followed it.

        For the others are not confirmed yet: the last may be the next to be stamped wrongly.
        """
        steps = [abs(b - a) for a, b in zip(last.run, last.run[1:], strict=False)]
        self.spacing = max(self.spacing, min(steps, default=0))
        waiting, self.doubts = self.doubts, []
        self.current = last.run[0]
        out: list[tuple[T, bool]] = []
        for doubt in waiting:
            if doubt.arrival <= last.first:
                out.append((doubt.item, doubt.arrival == last.first))
            else:
                out += self.push(doubt.time, doubt.item)
        return out

    def _refute(self) -> list[tuple[T, bool]]:
        waiting = [(doubt.item, False) for doubt in self.doubts]
        self.doubts.clear()
        return waiting
