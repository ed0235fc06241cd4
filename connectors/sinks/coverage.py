"""Which gaps are nobody's loss: while another feed stood in, the first one's ids went on."""

import sqlite3
from collections import defaultdict
from itertools import pairwise

from operators.messages import HoleState
from operators.switches import feed_of

_BEGIN, _END = 0, 2**63 - 1
# States of a hole in which it may still lack trades.
UNDONE = frozenset({HoleState.OPEN, HoleState.ENDED, HoleState.UNFILLED})


class Coverage:
    """Tells from a store's switches and holes which gaps another feed covered."""

    def __init__(self, store: sqlite3.Connection) -> None:
        """Read what is known now; times are UNIX ns."""
        self._standby = _standby(store)
        self._undone: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        states = ", ".join(f"'{state}'" for state in UNDONE)
        query = f"SELECT symbol, feed, ts_from, ts_to FROM holes WHERE state IN ({states})"  # noqa: S608 - ours
        for symbol, feed, since, until in store.execute(query):
            self._undone[symbol, feed].append((since, _END if until is None else until))

    def covers(self, symbol: str, venue: str, begin: int, end: int) -> bool:
        """Say whether a gap of a venue's ids in (begin, end) is covered.

        Another feed was used for some of it, and beside it the venue's own feed has no hole that
        is not filled.
        """
        key = symbol, feed_of(venue)
        return _meets(self._standby[key], begin, end) and not _meets(self._undone[key], begin, end)


def _meets(spans: list[tuple[int, int]], begin: int, end: int) -> bool:
    return any(since < end and begin < until for since, until in spans)


def _standby(
    store: sqlite3.Connection,
) -> defaultdict[tuple[str, str], list[tuple[int, int]]]:
    """Return by (symbol, feed) the times [since, until) in which another feed was used."""
    by_symbol: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
    query = "SELECT symbol, ts_event, before, after FROM switches ORDER BY ts_event, log_offset"
    for symbol, ts, before, after in store.execute(query):
        by_symbol[symbol].append((ts, feed_of(before), feed_of(after)))
    spans: defaultdict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for symbol, told in by_symbol.items():
        feeds = {feed for _, *both in told for feed in both}
        used = [(_BEGIN, told[0][1]), *((ts, after) for ts, _, after in told), (_END, "")]
        for (since, feed), (until, _) in pairwise(used):
            for other in feeds - {feed}:
                spans[symbol, other].append((since, until))
    return spans
