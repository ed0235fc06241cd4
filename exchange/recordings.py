"""Recordings of Binance's spot streams, as a schedule of what happens on each symbol.

A recording's lines are `<receive time, ns> <raw JSON>` in the combined stream's form, plain or
gzipped. Trades and best quotes are taken, their bytes kept as they were received. Aggregate
trades are derived (`exchange.aggregates`), as are klines (`exchange.klines`).

The recorder's clock is not the venue's. Its error is taken to be the largest lead of a message's
event time E over its receipt, so that on the venue's time no message comes before it happened.
"""

import gzip
import re
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from exchange.aggregates import Aggregate, aggregate

__all__ = ["AGGREGATE", "QUOTE", "TRADE", "Event", "Quote", "Recording", "RecordingError"]
__all__ += ["Track", "Trade", "read_recording"]

MILLISECOND = 1_000_000
SECOND = 1_000_000_000
UNIT = 100_000_000  # prices and quantities have eight decimals

TRADE, QUOTE, AGGREGATE = 0, 1, 2

_TRADE = re.compile(
    rb'\{"stream":"([^"@]+)@trade","data":\{"e":"trade","E":(\d+),"s":"([^"]+)","t":(\d+),'
    rb'"p":"([0-9.]+)","q":"([0-9.]+)","T":(\d+),"m":(true|false),"M":(?:true|false)\}\}'
)
_QUOTE = re.compile(
    rb'\{"stream":"([^"@]+)@bookTicker","data":\{"u":(\d+),"s":"([^"]+)"(,"b":[^{}]*)\}\}'
)


class RecordingError(Exception):
    """A recording cannot be served; the sentence says why."""


class Trade(NamedTuple):
    """A recorded trade."""

    id: int
    event_ms: int
    time_ms: int
    price: bytes
    quantity: bytes
    maker: bool  # the buyer was the maker: the aggressor sold
    raw: bytes  # as it was received, in the combined form
    line: int  # which of its track's events it is


class Quote(NamedTuple):
    """A recorded best bid and ask."""

    id: int
    rest: bytes  # all fields after the symbol, as they were received
    raw: bytes


class Event(NamedTuple):
    """Something that a stream sends: when (ns from the recording's start), and what."""

    due: int
    order: int  # in the recording; events due at once are sent in this order
    kind: int  # TRADE, QUOTE or AGGREGATE
    number: int  # among its kind


class Track:
    """What was recorded of one symbol, in the order in which it is sent."""

    def __init__(self, symbol: str, start: int) -> None:
        """Make an empty track of a recording that starts at `start` (UNIX ns, venue's time)."""
        self.symbol = symbol
        self.start = start
        self.events: list[Event] = []
        self.trades: list[Trade] = []
        self.quotes: list[Quote] = []
        self.aggregates: list[Aggregate] = []

    def finish(self) -> None:
        """Derive what is derived, once all events are there."""
        self.aggregates = aggregate(self.trades)
        at_trade = {one.last: index for index, one in enumerate(self.aggregates)}
        events: list[Event] = []
        trades: list[Trade] = []
        for event in self.events:
            if event.kind == TRADE:
                trades.append(self.trades[event.number]._replace(line=len(events)))
            events.append(event)
            found = at_trade.get(event.number) if event.kind == TRADE else None
            if found is not None:
                events.append(Event(event.due, event.order + 1, AGGREGATE, found))
        self.events, self.trades = events, trades
        self.dues = [event.due for event in events]
        # Offsets of T from the recording's start (ns).
        self.times = [trade.time_ms * MILLISECOND - self.start for trade in trades]
        self.prices = [units(trade.price) for trade in trades]
        self.quantities = [units(trade.quantity) for trade in trades]
        notionals = [p * q for p, q in zip(self.prices, self.quantities, strict=True)]
        taker = [0 if trade.maker else 1 for trade in trades]
        # Sums up to and without a trade: base, quote, taker's base, taker's quote.
        self.sums = tuple(
            list(accumulate(values, initial=0))
            for values in (
                self.quantities,
                notionals,
                [q * side for q, side in zip(self.quantities, taker, strict=True)],
                [n * side for n, side in zip(notionals, taker, strict=True)],
            )
        )

    @property
    def id_span(self) -> int:
        """How far ids go on from one loop to the next."""
        return self.trades[-1].id - self.trades[0].id + 1

    @property
    def quote_id_span(self) -> int:
        """How far quotes' update ids go on from one loop to the next."""
        return self.quotes[-1].id - self.quotes[0].id + 1 if self.quotes else 0


class Recording(NamedTuple):
    """All tracks of a recording; times are the venue's."""

    start: int  # UNIX ns of the first message
    length: int  # ns until the recording may begin anew; whole milliseconds
    clock_error: int  # ns by which the recorder's clock was behind the venue's
    tracks: tuple[Track, ...]
    skipped: Counter[str]  # lines that are not served, by what they are

    def trades_per_second(self) -> float:
        """Tell the mean rate of trades, all tracks together."""
        return sum(len(track.trades) for track in self.tracks) * SECOND / self.length


def units(number: bytes) -> int:
    """Read a decimal of up to eight places as an integer of 1e-8.

    >>> units(b"61837.63000000")
    6183763000000
    """
    whole, _, part = number.partition(b".")
    return int(whole) * UNIT + int(part.ljust(8, b"0")[:8])


def read_recording(path: Path, seconds: float | None = None) -> Recording:
    """Read the recording at `path`, or its first `seconds`.

    Raises:
        RecordingError: it cannot be read, or holds no trades of a combined stream.
    """
    lines, skipped = _lines(path, seconds)
    matches: list[tuple[int, int, re.Match[bytes], int]] = []
    error: int | None = None
    for order, (received, raw) in enumerate(lines):
        if found := _TRADE.fullmatch(raw):
            matches.append((received, order, found, TRADE))
            lead = int(found[2]) * MILLISECOND - received
            error = lead if error is None else max(error, lead)
        elif found := _QUOTE.fullmatch(raw):
            matches.append((received, order, found, QUOTE))
        else:
            skipped["other stream or form"] += 1
    if error is None:
        raise RecordingError(
            f"{path} holds no trades in the combined form "
            '{"stream":"btcusdt@trade","data":{"e":"trade",...}}'
        )
    start = lines[0][0] + error
    tracks: dict[str, Track] = {}
    for received, order, found, kind in matches:
        symbol = found[3].decode()
        if symbol not in tracks:
            tracks[symbol] = Track(symbol, start)
        _add(tracks[symbol], received + error - start, 2 * order, found, kind, skipped)
    traded = tuple(tracks[symbol] for symbol in sorted(tracks) if tracks[symbol].trades)
    for track in traded:
        track.finish()
    # A second's rest before it begins anew, so that no time stands twice.
    length = lines[-1][0] - lines[0][0] + SECOND
    length += -length % MILLISECOND
    return Recording(start, length, error, traded, skipped)


def _add(
    track: Track, due: int, order: int, found: re.Match[bytes], kind: int, skipped: Counter[str]
) -> None:
    """Append one message to its track; what the venue cannot have sent is left out."""
    if kind == QUOTE:
        track.events.append(Event(due, order, QUOTE, len(track.quotes)))
        track.quotes.append(Quote(int(found[2]), found[4], found[0]))
        return
    trade = Trade(
        id=int(found[4]),
        event_ms=int(found[2]),
        time_ms=int(found[7]),
        price=found[5],
        quantity=found[6],
        maker=found[8] == b"true",
        raw=found[0],
        line=0,
    )
    if track.trades and trade.id <= track.trades[-1].id:
        skipped["trade id that came before"] += 1
        return
    if track.trades and trade.time_ms < track.trades[-1].time_ms:
        skipped["trade time that goes back"] += 1
        return
    track.events.append(Event(due, order, TRADE, len(track.trades)))
    track.trades.append(trade)


def _lines(path: Path, seconds: float | None) -> tuple[list[tuple[int, bytes]], Counter[str]]:
    """Split a recording into receive times and raw messages, in order of time."""
    lines: list[tuple[int, bytes]] = []
    skipped: Counter[str] = Counter()
    until: float | None = None
    try:
        with path.open("rb") as plain:
            zipped = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as file:
            for line in file:
                received, _, raw = line.rstrip(b"\r\n").partition(b" ")
                if not received.isdigit() or not raw:
                    skipped["not `<ns> <JSON>`"] += 1
                    continue
                moment = int(received)
                if until is None and seconds is not None:
                    until = moment + seconds * SECOND
                if until is not None and moment > until:
                    break
                # A recorder's clock may step back; a schedule does not.
                lines.append((max(moment, lines[-1][0]) if lines else moment, raw))
    except (OSError, EOFError) as error:
        raise RecordingError(f"recording {path} cannot be read: {error}") from error
    if not lines:
        raise RecordingError(f"recording {path} holds no line of the form `<ns> <JSON>`")
    return lines, skipped
