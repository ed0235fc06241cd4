"""Merge live feeds into one log: the only reader of the wall clock.

What feeds deliver, and a Clock at each interval boundary, get their place in the log here,
and are in the journal before anybody acts on them.
"""

from collections.abc import Callable
from time import time_ns

import msgspec

from connectors.journal import Journal
from operators.messages import SECOND, Clock, Raw


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

    One thread calls it. `clock` is the wall clock (UNIX ns); tests pass their own.
    """

    def __init__(
        self,
        journal: Journal,
        settings: SequencerSettings,
        *,
        feeds: tuple[str, ...] = (),
        shard: int = 0,
        clock: Callable[[], int] = time_ns,
    ) -> None:
        """Go on behind the journal's last Clock; `feeds` are quiet until they speak."""
        self.journal = journal
        self.settings = settings
        self.shard = shard
        self.clock = clock
        # With no Clock yet, time begins at the last boundary already due.
        self.closed = journal.last_clock or self._boundary()
        self._heard: dict[str, int | None] = dict.fromkeys(feeds)
        self._cut: set[str] = set()
        self._ready: list[Raw] = []

    def offer(self, feed: str, kind: str, payload: bytes, receive_ns: int | None = None) -> None:
        """Take one message of a feed into the log."""
        received = self.clock() if receive_ns is None else receive_ns
        self._heard[feed] = received
        self._cut.discard(feed)
        self._ready.append(self.journal.append(feed, kind, received, payload))

    def mark_cut(self, feed: str) -> None:
        """Note that a feed's connection is gone; its next message ends that."""
        self._heard.setdefault(feed, None)
        self._cut.add(feed)

    def advance(self) -> None:
        """Put a Clock into the log for every boundary that is due and above the last."""
        interval = self.settings.interval_ns
        due = self._boundary()
        if due <= self.closed:  # also when the wall clock was set back
            return
        if due - self.closed <= max(self.settings.max_fill_ns, interval):
            boundaries = list(range(self.closed + interval, due + 1, interval))
        else:
            boundaries = sorted({self.closed + interval, due})
        now = self.clock()
        feeds = tuple((feed, self._state(feed, now)) for feed in sorted(self._heard))
        for boundary in boundaries:
            clock = Clock(ts_event=boundary, shard=self.shard, feeds=feeds)
            payload = msgspec.json.encode(clock)
            self._ready.append(self.journal.append("sequencer", "clock", now, payload))
        self.closed = due

    def take(self) -> list[Raw]:
        """Return what is new in the log, in order; the journal holds it when this returns."""
        self.journal.flush()
        taken, self._ready = self._ready, []
        return taken

    def _boundary(self) -> int:
        interval = self.settings.interval_ns
        return (self.clock() - self.settings.lateness_ns) // interval * interval

    def _state(self, feed: str, now: int) -> str:
        heard = self._heard[feed]
        if feed in self._cut:
            return "cut"
        return "up" if heard is not None and now - heard <= self.settings.quiet_ns else "quiet"
