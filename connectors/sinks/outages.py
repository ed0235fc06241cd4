"""Holes and switches of many symbols as few lines of a log.

When a connection is cut, each of its symbols has a hole. One line tells of them all, a feed,
event and second, with their count and the first names.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from operators.messages import SECOND, Hole, HoleState, Switch

NAMED = 5  # symbols that a line names
_REMEMBERED = 20_000  # holes whose last state is known, so that none is told twice

_EVENTS = {
    HoleState.OPEN: "hole_opened",
    HoleState.FILLED: "hole_filled",
    HoleState.UNFILLED: "hole_unfilled",
    HoleState.COVERED: "hole_covered",
}
_WORTH_A_LOOK = {"hole_opened", "hole_unfilled", "switched"}


@dataclass(slots=True)
class Line:
    """One line to be written: what happened, and to how many symbols."""

    event: str
    about: dict[str, Any]  # what all have in common
    at: int  # the second (ns) it happened in
    symbols: list[str] = field(default_factory=list)
    trades: int = 0
    seconds: float = 0.0  # the longest
    notes: list[str] = field(default_factory=list)

    @property
    def warns(self) -> bool:
        """Whether a person may want to look at it."""
        return self.event in _WORTH_A_LOOK and self.about.get("cause") != "well again"

    def fields(self) -> dict[str, Any]:
        """Return what stands in the line beside its event."""
        told: dict[str, Any] = {
            **self.about,
            "at": self.at,
            "count": len(self.symbols),
            "symbols": self.symbols[:NAMED],
        }
        if self.event.startswith("hole_") and self.event != "hole_opened":
            told |= {"trades": self.trades, "longest_seconds": round(self.seconds, 3)}
        if self.notes:
            told["note"] = self.notes[0]
        return told


class Outages:
    """Gather holes and switches until a line about them is due.

    >>> outages = Outages()
    >>> for symbol in ("BTCUSDT", "ETHUSDT"):
    ...     outages.add(Hole(feed="binance", symbol=symbol, cause="cut", ts_from=SECOND, ts_to=None,
    ...                      state=HoleState.OPEN, found_at=2 * SECOND))
    >>> [line] = outages.take()
    >>> line.event, line.fields()["count"], line.fields()["symbols"]
    ('hole_opened', 2, ['BTCUSDT', 'ETHUSDT'])
    """

    def __init__(self) -> None:
        self._lines: dict[tuple[Any, ...], Line] = {}
        self._told: OrderedDict[tuple[str, str, int], HoleState] = OrderedDict()

    def add(self, message: Hole | Switch) -> None:
        """Take one message; a hole's state that was told before is no news, nor is a start."""
        if isinstance(message, Switch):
            if message.before == message.after:
                return
            about = {"before": message.before, "after": message.after, "cause": message.cause}
            self._line("switched", about, message.ts_event).symbols.append(message.symbol)
            return
        event = _EVENTS.get(message.state)
        if event is None or not self._is_news(message):
            return
        opened = message.state is HoleState.OPEN
        at = message.found_at if opened or message.resolved_at is None else message.resolved_at
        line = self._line(event, {"feed": message.feed, "cause": message.cause}, at)
        line.symbols.append(message.symbol)
        line.trades += message.trades
        line.seconds = max(line.seconds, (at - message.ts_from) / SECOND)
        if message.note and message.note not in line.notes:
            line.notes.append(message.note)

    def take(self) -> Iterator[Line]:
        """Yield the lines gathered, in the order in which they began, and forget them."""
        lines, self._lines = self._lines, {}
        yield from lines.values()

    def __len__(self) -> int:
        """Return how many lines are gathered."""
        return len(self._lines)

    def _line(self, event: str, about: dict[str, Any], at: int) -> Line:
        second = at // SECOND * SECOND
        key = (event, *about.values(), second)
        return self._lines.setdefault(key, Line(event, about, second))

    def _is_news(self, hole: Hole) -> bool:
        identity = (hole.feed, hole.symbol, hole.ts_from)
        if self._told.get(identity) is hole.state:
            return False
        self._told[identity] = hole.state
        self._told.move_to_end(identity)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return True
