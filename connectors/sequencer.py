"""Merge live feeds into one log: the only place that makes time.

What feeds deliver, and a Clock at each interval boundary, get their place in the log here,
and are in the journal before anybody acts on them.
"""

from collections.abc import Callable, Mapping
from time import time_ns

import msgspec

from connectors.journal import Journal
from operators.messages import SECOND, Clock, Hole, HoleState, Raw


class SequencerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How time is made from the wall clock."""

    interval_ns: int = SECOND
    lateness_ns: int = 250_000_000  # a boundary's Clock comes this much later: ticks travel
    quiet_ns: int = 5 * SECOND  # a feed silent for longer is "quiet"
    # If the wall clock leaps further (a suspended machine), only the boundaries at both ends
    # get a Clock: bars of hours nobody watched would be a flood that says nothing.
    max_fill_ns: int = 60 * SECOND


class Sequencer:
    """Give every entry its offset, and close each interval with a Clock.

    One thread calls it. `clock` is the wall clock (UNIX ns); tests pass their own. A message
    is put behind every Clock that was due when it was received, so that a reader who was held
    up writes the same log as one who was not.
    """

    def __init__(
        self,
        journal: Journal,
        settings: SequencerSettings,
        *,
        feeds: Mapping[str, tuple[str, ...]] | None = None,
        shard: int = 0,
        clock: Callable[[], int] = time_ns,
    ) -> None:
        """Go on behind the journal's last Clock.

        `feeds` are the symbols by feed; a feed is quiet until it speaks, and cut while each of
        its symbols has a hole that nothing ends.
        """
        self.journal = journal
        self.settings = settings
        self.shard = shard
        self.clock = clock
        self.feeds = dict(feeds or {})
        # With no Clock yet, time begins at the last boundary already due.
        self.closed = journal.last_clock or self._boundary(clock())
        self._resumed = journal.last_clock is not None
        self._heard: dict[str, int | None] = dict.fromkeys(self.feeds)
        self._cut: dict[str, set[str]] = {feed: set() for feed in self.feeds}
        self._ready: list[Raw] = []

    def offer(self, feed: str, kind: str, payload: bytes, receive_ns: int | None = None) -> None:
        """Take one message of a feed into the log."""
        received = self.clock() if receive_ns is None else receive_ns
        self._close(received)
        if kind == "hole":
            self._note(msgspec.json.decode(payload, type=Hole))
        else:
            self._heard[feed] = received
        self._ready.append(self.journal.append(feed, kind, received, payload))

    def advance(self, now: int | None = None) -> None:
        """Put a Clock into the log for every boundary that is due at `now` and above the last.

        Call it when every message received before `now` has been offered.
        """
        self._close(self.clock() if now is None else now)

    def take(self) -> list[Raw]:
        """Return what is new in the log, in order; the journal holds it when this returns."""
        self.journal.flush()
        taken, self._ready = self._ready, []
        return taken

    def _close(self, now: int) -> None:
        interval = self.settings.interval_ns
        due = self._boundary(now)
        if due <= self.closed:  # also when the wall clock was set back
            return
        if due - self.closed <= max(self.settings.max_fill_ns, interval):
            boundaries = list(range(self.closed + interval, due + 1, interval))
        else:
            boundaries = sorted({self.closed + interval, due})
        feeds = tuple((feed, self._state(feed, now)) for feed in sorted(self._heard))
        for boundary in boundaries:
            clock = Clock(ts_event=boundary, shard=self.shard, feeds=feeds)
            payload = msgspec.json.encode(clock)
            self._ready.append(self.journal.append("sequencer", "clock", now, payload))
        self.closed = due

    def _boundary(self, now: int) -> int:
        interval = self.settings.interval_ns
        return (now - self.settings.lateness_ns) // interval * interval

    def _note(self, hole: Hole) -> None:
        cut = self._cut.setdefault(hole.feed, set())
        if hole.state is HoleState.OPEN and hole.ts_to is None:
            cut.add(hole.symbol)
        else:
            cut.discard(hole.symbol)

    def _state(self, feed: str, now: int) -> str:
        symbols = self.feeds.get(feed, ())
        if symbols and self._cut[feed].issuperset(symbols):
            return "cut"
        heard = self._heard[feed]
        if heard is None and symbols and self._resumed:
            return "cut"  # since the run before this one stopped
        return "up" if heard is not None and now - heard <= self.settings.quiet_ns else "quiet"
