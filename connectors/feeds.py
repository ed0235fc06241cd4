"""What a live feed is, and the inbox it delivers to.

Feeds run as asyncio tasks in a thread of their own; the dataflow's thread empties the inbox.
Nothing here waits: a full inbox sheds and counts, so that a socket is always read and its
pings are answered.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import msgspec

from operators.messages import Hole, HoleState, Raw

__all__ = ["Feed", "FeedHealth", "Hole", "HoleState", "Inbox", "InboxSettings", "Received"]


class Received(NamedTuple):
    """One message of a feed, with when it came (ns) and the symbol it is about, if any."""

    ts_init: int
    feed: str
    kind: str
    payload: bytes
    symbol: str | None


@dataclass(slots=True)
class FeedHealth:
    """How a feed does, written by the feed alone: the source of metrics and health report."""

    feed: str
    state: str = "starting"  # then "up", "quiet" or "cut"; "stopped" where it cannot go on
    note: str = ""  # a sentence for people: why it is not up
    counts: Counter[str] = field(default_factory=Counter)  # only ever rise
    gauges: dict[str, float] = field(default_factory=dict)  # names end in a unit


class Feed(Protocol):
    """A venue's market data, news or mood, as messages of its own form."""

    name: str
    symbols: tuple[str, ...]  # the names of ours that it can deliver; none for news
    health: FeedHealth

    def remember(self, raw: Raw) -> None:
        """Learn from an entry of the log before a restart what came last, as its trade id."""

    async def run(self, inbox: "Inbox") -> None:
        """Deliver until cancelled. Nothing that a venue or a network does ends it."""


class InboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much may wait for the dataflow."""

    # At 10,000 messages/s this is 20 s of a dataflow that stands still.
    max_messages: int = 200_000
    max_bytes: int = 128 << 20
    # What a later message replaces (quotes) is shed from here on, and trades when it is full.
    spare: float = 0.5


class Inbox:
    """A bounded queue from all feeds to the dataflow, in order of arrival.

    `clock` gives UNIX ns; it is the sequencer's, so that receipt and Clocks agree.
    """

    def __init__(self, settings: InboxSettings, clock: Callable[[], int]) -> None:
        """Make an empty inbox."""
        self.settings = settings
        self.clock = clock
        self.shed: Counter[tuple[str, str]] = Counter()  # by (feed, kind)
        self._waiting: deque[Received] = deque()
        self._put_bytes = 0  # each counter has one writer, so that no lock is needed
        self._taken_bytes = 0

    def __len__(self) -> int:
        """Return how many messages wait."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of payload wait."""
        return self._put_bytes - self._taken_bytes

    def put(
        self,
        feed: str,
        kind: str,
        payload: bytes,
        *,
        symbol: str | None = None,
        ts_init: int | None = None,
        replaceable: bool = False,
    ) -> bool:
        """Deliver a message, received at `ts_init` (default: now); False if it was shed.

        A feed that is told False of a trade has a hole to open, and to fill when it can.
        """
        share = self.settings.spare if replaceable else 1.0
        if (
            len(self._waiting) >= self.settings.max_messages * share
            or self.waiting_bytes + len(payload) > self.settings.max_bytes * share
        ):
            self.shed[feed, kind] += 1
            return False
        self._append(feed, kind, payload, symbol, ts_init)
        return True

    def put_hole(self, hole: Hole) -> None:
        """Tell the log about a hole, or about its end; never shed."""
        payload = msgspec.json.encode(hole)
        self._append(hole.feed, "hole", payload, hole.symbol, None)

    def take(self, limit: int) -> list[Received]:
        """Return up to `limit` messages, oldest first; called by one thread only."""
        waiting = self._waiting
        taken = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        self._taken_bytes += sum(len(received.payload) for received in taken)
        return taken

    def _append(
        self, feed: str, kind: str, payload: bytes, symbol: str | None, ts_init: int | None
    ) -> None:
        at = self.clock() if ts_init is None else ts_init
        self._put_bytes += len(payload)
        self._waiting.append(Received(at, feed, kind, payload, symbol))
