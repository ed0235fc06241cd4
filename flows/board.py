"""What the terminal shows, gathered from the stream; it only watches, nothing reads it back."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.messages import (
    Action,
    Bar,
    Decision,
    Gap,
    Hole,
    HoleState,
    Mood,
    Notice,
    Outcome,
    Portfolio,
    Rejection,
    ScoredHeadline,
    Signal,
    Switch,
)

PACE_SPAN = 3.0  # wall seconds over which the replay's speed is measured


@dataclass(frozen=True, slots=True)
class Line:
    """One symbol as it stands: its last signal, and each leg's value (None: it abstains)."""

    signal: Signal
    legs: dict[str, float | None]


@dataclass(slots=True)
class Seen:
    """Everything gathered so far."""

    ts_close: int = 0
    lines: dict[str, Line] = field(default_factory=dict)
    ready: int = 0
    symbols: int = 0
    market: int = 0  # trades and quotes in closed bars, for bar inputs the bars
    bars: int = 0
    bars_of_symbol: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    gaps: int = 0
    holes: dict[tuple[str, str, int], Hole] = field(default_factory=dict)  # unresolved
    filled: int = 0  # holes of which nothing is missing any more
    unfilled: int = 0
    switches: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    hits: int = 0
    judged: int = 0
    headlines: deque[tuple[str, float]] = field(default_factory=lambda: deque(maxlen=3))
    mood: float | None = None
    portfolio: Portfolio | None = None
    capital: float | None = None


class Board:
    """A thread-safe picture of the run: the flow writes, the view reads.

    >>> board = Board()
    >>> board.update("a message it does not know")
    >>> board.seen.bars
    0
    """

    def __init__(self, progress: Callable[[], float | None] = lambda: None) -> None:
        self.lock = threading.Lock()
        self.seen = Seen()
        self.progress = progress  # share of the input that was read, None if unknown
        self.begun = time.monotonic()
        self._pace: deque[tuple[float, int]] = deque()

    def update(self, message: Any) -> None:
        """Take one message; those without a place on the board are passed over."""
        with self.lock:
            self._take(message)

    def update_all(self, messages: list[Any]) -> None:
        """Take a batch."""
        with self.lock:
            for message in messages:
                self._take(message)

    def _take(self, message: Any) -> None:
        seen = self.seen
        match message:
            case Bar():
                seen.bars += 1
                seen.bars_of_symbol[message.symbol] += 1
                seen.market += message.trades + message.quotes
            case Decision():
                self._decide(message)
            case Rejection():
                seen.rejected[message.reason] += 1
            case Outcome():
                if message.hit is not None:
                    seen.judged += 1
                    seen.hits += message.hit
            case Gap():
                seen.gaps += 1
            case Hole() | Switch():
                self._feed(message)
            case Notice(body=ScoredHeadline() as scored):
                tone = scored.positive - scored.negative
                seen.headlines.append((scored.headline.text, tone))
            case Notice(body=Mood() as mood):
                seen.mood = mood.value
            case _:
                pass

    def _feed(self, hole: Hole | Switch) -> None:
        seen = self.seen
        if isinstance(hole, Switch):
            seen.switches += hole.before != hole.after
            return
        key = (hole.feed, hole.symbol, hole.ts_from)
        if hole.state in {HoleState.OPEN, HoleState.ENDED}:
            seen.holes[key] = hole
            return
        seen.holes.pop(key, None)
        seen.filled += hole.state is HoleState.FILLED
        seen.unfilled += hole.state is HoleState.UNFILLED

    def _decide(self, decision: Decision) -> None:
        seen, fused = self.seen, decision.fused
        rows = {symbol: row for row, symbol in enumerate(fused.cross.symbols)}
        for signal in decision.signals:
            seen.actions[signal.action] += 1
            row = rows.get(signal.symbol)
            legs = (
                {}
                if row is None
                else {
                    leg.name: None if leg.abstains[row] else float(leg.value[row])
                    for leg in fused.legs
                }
            )
            seen.lines[signal.symbol] = Line(signal, legs)
        seen.ready = int(fused.cross.ready.sum())
        seen.symbols = len(fused.cross.symbols)
        seen.ts_close = max(seen.ts_close, decision.portfolio.ts_close)
        seen.portfolio = decision.portfolio
        if seen.capital is None:
            seen.capital = decision.portfolio.equity + decision.portfolio.costs

    def pace(self) -> float | None:
        """Return how many seconds of event time pass in one of ours, over the last few."""
        with self.lock:
            now = time.monotonic()
            if self.seen.ts_close:
                self._pace.append((now, self.seen.ts_close))
            while len(self._pace) > 2 and now - self._pace[0][0] > PACE_SPAN:
                self._pace.popleft()
            if len(self._pace) < 2:
                return None
            (begin, first), (end, last) = self._pace[0], self._pace[-1]
            return (last - first) * 1e-9 / (end - begin) if end > begin else None

    def order(self) -> list[Line]:
        """Return the lines as they are worth showing: what trades first, then by score."""
        with self.lock:
            lines = list(self.seen.lines.values())
        return sorted(
            lines,
            key=lambda line: (
                line.signal.action is Action.HOLD and not line.signal.target_position,
                -abs(line.signal.score),
                line.signal.symbol,
            ),
        )


class _Partition(StatefulSinkPartition[Any, None]):
    def __init__(self, board: Board) -> None:
        self.board = board

    def write_batch(self, values: list[Any]) -> None:
        self.board.update_all(values)

    def snapshot(self) -> None:
        return None


class ViewSink(FixedPartitionedSink[Any, None]):
    """Show messages on a board. Guarantee: none; what a crash repeats is counted again."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def list_parts(self) -> list[str]:
        """One board, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """Return the way to the board."""
        return _Partition(self.board)
