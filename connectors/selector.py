"""Choose for each symbol the feed that its bars are made from.

A symbol may name several feeds in order of preference. Only the chosen one's messages go into
the log, so that no bar is made twice; each change stands in the log as a `Switch`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from connectors.feeds import FeedHealth, Received
from operators.messages import SECOND, Hole, HoleState, Switch

_RESOLVED = frozenset({HoleState.FILLED, HoleState.UNFILLED, HoleState.COVERED})
_EVERY = SECOND // 10  # judging at each message would cost more than it tells


class SelectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a feed is left for the next, and when it is returned to."""

    # Without a message of the symbol for so long while the next feed has one. Longer than a
    # reconnection takes, so that a short cut is backfilled and not switched.
    silence_ns: int = 10 * SECOND
    lag_ns: int = 5 * SECOND  # venue time behind receipt, smoothed
    # A feed must have been well for so long, and have delivered, before it is returned to.
    steady_ns: int = 15 * SECOND


@dataclass(slots=True)
class _Feed:
    """What is known of one feed of one symbol."""

    heard: int | None = None  # its last message
    well_since: int | None = None
    # Unresolved holes by where they begin, as the feed told them last, and whether the log
    # knows them.
    holes: dict[int, tuple[Hole, bool]] = field(default_factory=dict)
    covered_from: int | None = None  # when another feed took over from it


@dataclass(slots=True)
class _Symbol:
    order: tuple[str, ...]
    active: str
    feeds: dict[str, _Feed] = field(default_factory=dict)
    judged: int = 0


class Selector:
    """Pass on what the log should hold, in order; one thread calls it.

    `order` names the feeds of each symbol, most wanted first; `health` is by feed. Messages
    without a symbol, and symbols without an order, pass as they are.
    """

    def __init__(
        self,
        order: Mapping[str, tuple[str, ...]],
        health: Mapping[str, FeedHealth],
        settings: SelectorSettings,
    ) -> None:
        """Begin with the most wanted feed of each symbol."""
        self.settings = settings
        self.health = health
        self.standby = 0  # messages of feeds that were not the chosen one
        self.switches = 0
        self.symbols = {
            symbol: _Symbol(feeds, feeds[0], {feed: _Feed() for feed in feeds})
            for symbol, feeds in order.items()
            if len(feeds) > 1
        }
        self._began: int | None = None

    def begin(self, now: int) -> Iterator[Received]:
        """Yield a switch to the first feed of each symbol: nothing older is of account."""
        for name, symbol in self.symbols.items():
            yield self._told(name, symbol.active, symbol.active, "start", now)

    def pass_on(self, received: Received) -> Iterator[Received]:
        """Yield what goes into the log for one message, a switch before what it lets through."""
        symbol = None if received.symbol is None else self.symbols.get(received.symbol)
        if symbol is None or received.feed not in symbol.feeds:
            yield received
            return
        if self._began is None:
            self._began = received.ts_init
        feed = symbol.feeds[received.feed]
        if received.kind == "hole":
            yield from self._hole(symbol, feed, received)
            yield from self._judge(received.symbol or "", symbol, received.ts_init)
            return
        if received.kind == "binance_rest":
            # Fetched for a hole that the log knows; what another feed covered quality drops.
            told = any(known for _, known in feed.holes.values())
            if told or received.feed == symbol.active:
                yield received
            return
        feed.heard = received.ts_init
        yield from self._judge(received.symbol or "", symbol, received.ts_init)
        if received.feed == symbol.active:
            yield received
        else:
            self.standby += 1

    def tick(self, now: int) -> Iterator[Received]:
        """Yield the switches that time alone brings: a feed that has fallen silent."""
        for name, symbol in self.symbols.items():
            yield from self._judge(name, symbol, now)

    # ------------------------------------------------------------------------- deciding

    def _judge(self, name: str, symbol: _Symbol, now: int) -> Iterator[Received]:
        if self._began is None:
            self._began = now
        if 0 <= now - symbol.judged < _EVERY:
            return
        if now < symbol.judged:
            self._set_back(symbol, now)
        symbol.judged = now
        causes = self._causes(symbol, now)
        cause = causes[symbol.active]
        place = symbol.order.index(symbol.active)
        for better in symbol.order[:place]:
            since = symbol.feeds[better].well_since
            if since is not None and now - since >= self.settings.steady_ns:
                yield from self._switch(name, symbol, better, "well again", now)
                return
        if cause is None:
            return
        for other in symbol.order:
            if other != symbol.active and causes[other] is None:
                yield from self._switch(name, symbol, other, cause, now)
                return

    def _set_back(self, symbol: _Symbol, now: int) -> None:
        """Begin to count anew: the clock was set back, and what it told is still to come."""
        self._began = min(self._began or now, now)
        for feed in symbol.feeds.values():
            feed.heard = None if feed.heard is None else min(feed.heard, now)
            feed.well_since = None

    def _causes(self, symbol: _Symbol, now: int) -> dict[str, str | None]:
        """Return why each feed cannot be used, and note since when those that can are well."""
        causes: dict[str, str | None] = {}
        for name in symbol.order:
            feed = symbol.feeds[name]
            causes[name] = self._cause(name, feed, now, active=name == symbol.active)
            if causes[name] is not None:
                feed.well_since = None
            elif feed.well_since is None:
                feed.well_since = now
        return causes

    def _cause(self, name: str, feed: _Feed, now: int, *, active: bool) -> str | None:
        """Say why a feed cannot be used for the symbol now; None if it can."""
        health = self.health[name]
        since = feed.heard if feed.heard is not None else self._began
        silent = now - (since or now) > self.settings.silence_ns
        begun = [at for at, (h, _) in feed.holes.items() if h.state is HoleState.OPEN]
        if begun:
            # A cut is backfilled when it is short; only a long one is worth a change.
            return "cut" if now - min(begun) > self.settings.silence_ns else None
        if silent or (feed.heard is None and not active):
            return "silent"
        if health.gauges.get("lag_seconds", 0.0) * SECOND > self.settings.lag_ns:
            return "lag"
        return None

    def _switch(
        self, name: str, symbol: _Symbol, after: str, cause: str, now: int
    ) -> Iterator[Received]:
        before = symbol.active
        left = symbol.feeds[before]
        left.covered_from = now
        symbol.active = after
        self.switches += 1
        yield self._told(name, before, after, cause, now)
        for hole, told in left.holes.values():
            if told and hole.state is HoleState.OPEN:
                covered = msgspec.structs.replace(hole, state=HoleState.COVERED, ts_to=now)
                yield Received(now, before, "hole", msgspec.json.encode(covered), name)
        taken = symbol.feeds[after]
        taken.covered_from = None
        for at, (hole, told) in taken.holes.items():
            if not told:  # it was no news until now
                taken.holes[at] = (hole, True)
                yield Received(now, after, "hole", msgspec.json.encode(hole), name)

    @staticmethod
    def _told(name: str, before: str, after: str, cause: str, now: int) -> Received:
        switch = Switch(symbol=name, before=before, after=after, cause=cause, ts_event=now)
        return Received(now, after, "switch", msgspec.json.encode(switch), name)

    def _hole(self, symbol: _Symbol, feed: _Feed, received: Received) -> Iterator[Received]:
        hole = msgspec.json.decode(received.payload, type=Hole)
        known = feed.holes.get(hole.ts_from)
        active = received.feed == symbol.active
        told = active or (known is not None and known[1])
        if told:
            yield self._clipped(feed, hole, received)
        if hole.state in _RESOLVED:
            feed.holes.pop(hole.ts_from, None)
        else:
            feed.holes[hole.ts_from] = (hole, told)

    @staticmethod
    def _clipped(feed: _Feed, hole: Hole, received: Received) -> Received:
        """Return the message with the hole ended where another feed took over."""
        until = feed.covered_from
        if until is None or until <= hole.ts_from or (hole.ts_to or until) < until:
            return received
        clipped = msgspec.structs.replace(hole, ts_to=until)
        return received._replace(payload=msgspec.json.encode(clipped))
