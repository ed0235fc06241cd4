"""Tell a clock that moved from a time that is rubbish."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

LEAP = 60 * 1_000_000_000
_DOUBTS = 64  # differing doubtful times held at once, so that noise cannot fill the memory


@dataclass(slots=True)
class LeapGuard(Generic[T]):  # noqa: UP046 - pickled state: kept plain
    """Accept items whose time goes on from `current`; hold those that leap until it is clear.

    An item whose time is more than `limit` from `current`, either way, and the very first
    item, waits until `confirmations` items agree on the new time (each within `limit` of the one
    before). An item that goes on from `current` in the meantime refutes all that wait. Apart
    from the wait, a refuted item leaves no trace: the others fare as if it had not been there.

    >>> guard = LeapGuard(current=1_000_000_000)
    >>> guard.push(2_000_000_000, "tick")
    [('tick', True)]
    >>> guard.push(9_000_000_000_000_000_000, "year 2255")
    []
    >>> guard.push(3_000_000_000, "tock")
    [('year 2255', False), ('tock', True)]
    """

    current: int | None = None
    limit: int = LEAP
    confirmations: int = 3
    # Items that wait, by the time they agree on: [(arrival, time, item), ...]
    doubts: list[list[tuple[int, int, T]]] = field(default_factory=list)
    arrivals: int = 0

    def push(self, time: int, item: T) -> list[tuple[T, bool]]:
        """Take an item; return what is now clear in order of arrival, and whether it holds."""
        if self.current is not None and abs(time - self.current) <= self.limit:
            self.current = time
            return [*self._refute(), (item, True)] if self.doubts else [(item, True)]
        self.arrivals += 1
        for group in reversed(self.doubts):  # the latest first: it is the likeliest
            if abs(time - group[-1][1]) <= self.limit:
                group.append((self.arrivals, time, item))
                return self._settle(group) if len(group) >= self.confirmations else []
        self.doubts.append([(self.arrivals, time, item)])
        if len(self.doubts) > _DOUBTS:
            return [(item, False) for _, _, item in self.doubts.pop(0)]
        return []

    def end(self) -> list[tuple[T, bool]]:
        """Return what still waits when input ends.

        It is refuted, unless no item ever held: then the first time most items agree on holds,
        so that one or two items can be a whole input.
        """
        if self.current is None and self.doubts:
            return self._settle(max(self.doubts, key=len))
        return self._refute()

    def _settle(self, group: list[tuple[int, int, T]]) -> list[tuple[T, bool]]:
        self.current = group[-1][1]
        held = {arrival for arrival, _, _ in group}
        waiting = sorted((entry for g in self.doubts for entry in g), key=lambda e: e[0])
        self.doubts.clear()
        return [(item, arrival in held) for arrival, _, item in waiting]

    def _refute(self) -> list[tuple[T, bool]]:
        waiting = sorted((entry for group in self.doubts for entry in group), key=lambda e: e[0])
        self.doubts.clear()
        return [(item, False) for _, _, item in waiting]
