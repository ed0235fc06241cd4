"""What the simulated Tokyo feed missed: learnt from the log, and made again."""

from collections.abc import Iterator

import msgspec

from models.tokyo.events import Trade
from models.tokyo.simulator import Market
from operators.checks import UNDECODABLE
from operators.messages import Hole, HoleState, Raw

_UNRESOLVED = frozenset({HoleState.OPEN, HoleState.ENDED})


class _Head(msgspec.Struct, gc=False):
    symbol: str
    ts: int
    backfilled: bool = False


_HEAD = msgspec.json.Decoder(_Head).decode
_HOLE = msgspec.json.Decoder(Hole).decode


class Remembered:
    """How far the log of earlier runs reaches, by symbol."""

    def __init__(self, feed: str) -> None:
        """Know nothing yet of this feed."""
        self.feed = feed
        self.known: dict[str, int] = {}  # the last message's time, or the last hole's end
        self._holes: dict[tuple[str, int], Hole] = {}  # unresolved
        # The last backfilled trade's time, and how many since a hole was filled.
        self._made: dict[str, tuple[int, int]] = {}

    def learn(self, raw: Raw) -> None:
        """Take one entry of the log, in its order; others' are of no account."""
        try:
            if raw.kind == "hole":
                hole = _HOLE(raw.payload)
                if hole.feed == self.feed:
                    self._learn_hole(hole)
            elif raw.kind == "sbi":
                head = _HEAD(raw.payload)
                if head.backfilled:
                    _, made = self._made.get(head.symbol, (0, 0))
                    self._made[head.symbol] = (head.ts, made + 1)
                else:
                    self.known[head.symbol] = max(head.ts, self.known.get(head.symbol, 0))
        except UNDECODABLE:  # a torn entry; what it said is made again
            return

    def take_open(self, symbol: str) -> Hole | None:
        """Return the hole of a symbol that had no end yet, once."""
        for key, hole in self._holes.items():
            if hole.symbol == symbol and hole.state is HoleState.OPEN:
                return self._holes.pop(key)
        return None

    def take_ended(self, symbol: str) -> list[tuple[Hole, int]]:
        """Return the symbol's holes not yet filled, and up to which time each is, once."""
        found: list[tuple[Hole, int]] = []
        for key, hole in list(self._holes.items()):
            if hole.symbol == symbol and hole.ts_to is not None:
                del self._holes[key]
                # They are filled one after the other, and each in order of time.
                last, made = self._made.get(symbol, (0, 0))
                if hole.ts_from < last <= hole.ts_to:
                    found.append((msgspec.structs.replace(hole, trades=made), last))
                else:
                    found.append((hole, hole.ts_from))
        return found

    def _learn_hole(self, hole: Hole) -> None:
        if hole.ts_to is not None:  # what lies within is that hole's, whatever came behind it
            self.known[hole.symbol] = max(hole.ts_to, self.known.get(hole.symbol, 0))
        if hole.state in _UNRESOLVED:
            self._holes[hole.symbol, hole.ts_from] = hole
        else:
            self._holes.pop((hole.symbol, hole.ts_from), None)
            self._made.pop(hole.symbol, None)


class Backfill:
    """The trades of a stock later than `after`, made again, up to `until`.

    Making the first takes as long as the day up to it; do it in a thread.
    """

    def __init__(self, market: Market, code: str, after: int) -> None:
        """Find the first trade."""
        self.until = 0
        self.hole: Hole | None = None  # that it fills
        self.head = b""  # of its messages
        self.made = 0
        events = market.events(code, after, quotes=False)
        self._trades: Iterator[Trade] = (e for e in events if isinstance(e, Trade))
        self._next = next(self._trades)

    @property
    def next(self) -> Trade | None:
        """The trade to deliver now; None when all are."""
        return self._next if self._next.ts <= self.until else None

    def delivered(self) -> None:
        """Go on to the next trade."""
        self.made += 1
        self._next = next(self._trades)
