"""Which of its feeds a symbol used at what time, as the log's switches tell."""

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from operators.messages import Switch

_KEPT = 64  # switches that are remembered of one symbol
# Venues whose tapes come by one feed under several names.
_FEEDS = {"binance-um": "binance", "binance-cm": "binance"}


@lru_cache(maxsize=256)  # its names come from the log, which may hold any
def feed_of(venue: str) -> str:
    """Return the feed that a venue's messages come by.

    >>> [feed_of(venue) for venue in ("binance/aggregate", "binance-um", "alpha_vantage")]
    ['binance', 'binance', 'alpha_vantage']
    """
    name = venue.partition("/")[0]
    return _FEEDS.get(name, name)


class _Told(NamedTuple):
    since: int
    before: str
    after: str


@dataclass(slots=True)
class Switches:
    """The last switches of one symbol, by time.

    Where nothing is known every feed counts as used: a symbol with one feed has no switches.

    >>> switches = Switches()
    >>> switches.note(Switch(symbol="A", before="binance", after="yahoo", cause="cut", ts_event=5))
    >>> switches.used("binance", 4), switches.used("binance", 5), switches.used("yahoo", 9)
    (True, False, True)
    """

    told: list[_Told] = field(default_factory=list)

    def note(self, switch: Switch, closed: int = 0) -> None:
        """Remember a switch; `closed` is the last Clock before it."""
        before, after = feed_of(switch.before), feed_of(switch.after)
        since = switch.ts_event
        if before == after and closed:
            # The engine started: since its last Clock nobody listened, so none stood in.
            since = min(since, closed)
        self.told.append(_Told(since, before, after))
        self.told.sort(key=lambda told: told.since)  # stable: of equal times the last one holds
        del self.told[:-_KEPT]

    @property
    def current(self) -> str | None:
        """The feed in use, if any switch told it."""
        return self.told[-1].after if self.told else None

    def used(self, feed: str, ts: int) -> bool:
        """Say whether the symbol used `feed` at `ts` (ns)."""
        return not self.told or self._at(ts) == feed_of(feed)

    def used_within(self, feed: str, start: int, end: int) -> bool:
        """Say whether the symbol used `feed` at any time in [start, end)."""
        if self.used(feed, start):
            return True
        name = feed_of(feed)
        return any(start < told.since < end and told.after == name for told in self.told)

    def _at(self, ts: int) -> str:
        place = bisect_right(self.told, ts, key=lambda told: told.since)
        return self.told[place - 1].after if place else self.told[0].before
