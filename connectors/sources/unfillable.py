"""Tell the log about holes of a feed whose venue keeps no history to fill them from."""

import msgspec

from connectors.feeds import FeedHealth, Hole, HoleState, Inbox
from operators.checks import UNDECODABLE
from operators.messages import Raw


class UnfillableHoles:
    """The open holes of one feed, at most one for each symbol.

    A hole is told when it is found and, with its end, when messages come again. Those that the
    log before a restart left open are taken up again.
    """

    def __init__(self, feed: str, health: FeedHealth, note: str) -> None:
        """Count in `health`; `note` says in the log why nothing is filled."""
        self.feed = feed
        self.health = health
        self.note = note
        self.open: dict[str, Hole] = {}
        self._ends: dict[str, int] = {}  # of the last hole of each symbol

    def remember(self, raw: Raw) -> None:
        """Learn from an entry of the log before a restart."""
        if raw.kind != "hole":
            return
        try:
            hole = msgspec.json.decode(raw.payload, type=Hole)
        except UNDECODABLE:
            return
        if hole.feed != self.feed:
            return
        if hole.state is HoleState.OPEN:
            self.open[hole.symbol] = hole
        else:
            self.open.pop(hole.symbol, None)
            self._ends[hole.symbol] = hole.ts_to or hole.ts_from

    def begin(self, inbox: Inbox, symbol: str, cause: str, ts_from: int) -> None:
        """Open a hole of `symbol` behind `ts_from` (ns), unless one is open."""
        if symbol in self.open:
            return
        # (feed, symbol, ts_from) names a hole, so no two may begin alike.
        ts_from = max(ts_from, self._ends.get(symbol, ts_from))
        hole = Hole(
            feed=self.feed,
            symbol=symbol,
            cause=cause,
            ts_from=ts_from,
            ts_to=None,
            state=HoleState.OPEN,
            found_at=inbox.clock(),
            note=self.note,
        )
        self.open[symbol] = hole
        self.health.counts["holes"] += 1
        inbox.put_hole(hole)

    def end(self, inbox: Inbox, symbol: str, ts_to: int) -> None:
        """End the hole of `symbol`, if one is open: messages came again at `ts_to` (ns)."""
        hole = self.open.pop(symbol, None)
        if hole is None:
            return
        # A clock that was set back must not make a hole that ends before it begins.
        ts_to = max(ts_to, hole.ts_from + 1)
        self._ends[symbol] = ts_to
        self.health.counts["holes_unfilled"] += 1
        inbox.put_hole(
            msgspec.structs.replace(
                hole, state=HoleState.UNFILLED, ts_to=ts_to, resolved_at=inbox.clock()
            )
        )
