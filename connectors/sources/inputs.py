"""Merge recorded inputs of any kind into one log."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import msgspec

from connectors.journal import Damage, read_journal, segments
from connectors.sources.bar_entries import bar_files, read_bar_entries
from connectors.sources.entries import Entry, Progress, rejected
from connectors.sources.forms import form_of
from connectors.sources.news_files import entry_of, read_headlines, read_moods
from connectors.sources.recording import (
    head_symbols,
    read_lines,
    read_recording,
    recording_files,
)
from models.bar_files import BarFileError, Label, read_bars
from models.calendars import CalendarError, sessions
from operators.checks import UNDECODABLE
from operators.errors import InputError
from operators.messages import SECOND, Headline, Mood, Raw, Reason

_MARKET = frozenset({"binance", "bar", "clock"})
_SUPPORT = 3  # messages or bars that a symbol needs to be one
_SHARE = 1000  # a symbol needs one message for so many of a usual one
_MANY = 10 * _SUPPORT  # bars from which a symbol with fewer than the support is none
_USED = frozenset({"trade", "aggTrade", "bookTicker", "kline"})
_LOOKED_AT = 100_000  # entries of a journal in which a Clock must come, if it has any
_LONGEST = 64  # characters of a symbol


class _Message(msgspec.Struct, gc=False):
    """What tells a message that makes bars, of the venue or the log; the rest must be JSON."""

    e: str | None = None
    s: str | None = None
    u: int | None = None  # a spot quote has no type, but this
    symbol: str | None = None  # of a bar in the log
    data: "_Message | None" = None


_MESSAGE = msgspec.json.Decoder(_Message).decode


class ReplayInputs:
    """The inputs of a replay, checked to be there and of a known form.

    `paths` may be recordings, bar files, folders of them and Lean trees, journals, headline
    files and the Fear & Greed CSV, in any number. `headlines` are files read as headlines
    whatever they hold, after all `paths`: what is none in them is rejected line by line.
    `notices` are headlines and moods given directly. `tz`, `label`, `interval` (ns) and
    `calendar` say how bar files are read. Raises InputError for a path that is missing, or
    one of `paths` that is unknown.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        headlines: Sequence[Path | str] = (),
        tz: str | None = None,
        label: Label = "close",
        interval: int = SECOND,
        calendar: str = "24/7",
        notices: Sequence[Headline | Mood] = (),
    ) -> None:
        """Look at each path to tell what it holds."""
        self.tz = tz
        self.label: Label = label
        self.interval = interval
        self.notices = tuple(notices)
        try:
            self.calendar = sessions(calendar)
        except CalendarError as error:
            raise InputError(str(error)) from error
        self.kinds: dict[str, list[Path]] = {}
        for path in map(Path, paths):
            self.kinds.setdefault(form_of(path), []).append(path)
        for path in map(Path, headlines):
            if not path.exists() or path.is_dir():
                raise InputError(f"There is no file of headlines {path}.")
            self.kinds.setdefault("headlines", []).append(path)
        # The order of merging is that of the command line, all bar files standing as one.
        given = [Path(path) for path in (*paths, *headlines)]
        self.order = {path: place for place, path in reversed(list(enumerate(given)))}

    def streams(self, progress: Progress) -> list[Iterator[Entry]]:
        """Return each input as entries in the order of their merge key."""
        streams: list[tuple[int, Iterator[Entry]]] = []
        for form, read in _READERS.items():
            streams += [(self.order[p], read(p, progress)) for p in self.kinds.get(form, [])]
        if bars := self.kinds.get("bars"):
            streams.append((self.order[bars[0]], self._bars(bars, progress)))
        if moods := self.kinds.get("mood"):
            start = self.start()
            streams += [(self.order[path], _moods(path, start)) for path in moods]
        streams.sort(key=lambda stream: stream[0])
        given = (entry_of(notice, "given") for notice in self.notices)
        return [*(entries for _, entries in streams), iter(sorted(given, key=lambda e: e[0]))]

    def start(self) -> int:
        """Return when the market data begin; 0 if there are none."""
        streams = [
            _READERS[form](path, Progress())
            for form in ("recording", "journal")
            for path in self.kinds.get(form, [])
        ]
        if bars := self.kinds.get("bars"):
            streams.append(self._bars(bars, Progress()))
        first = (next((e[0] for e in entries if e[2] in _MARKET), None) for entries in streams)
        return min((time for time in first if time is not None), default=0)

    @property
    def timed(self) -> bool:
        """Whether the market data are a log of our own, with the Clocks of the run it is of."""
        own = [head_symbols(path) is not None for path in self.kinds.get("recording", [])]
        own += [_holds_clocks(path) for path in self.kinds.get("journal", [])]
        return bool(own) and all(own)

    def size(self) -> int:
        """Return the bytes to be read, as far as progress can be told."""
        lines = [*self.kinds.get("headlines", [])]
        lines += [f for path in self.kinds.get("recording", []) for f in recording_files(path)]
        parts = [s for path in self.kinds.get("journal", []) for s in segments(path)]
        bars = [f for path in self.kinds.get("bars", []) for f in bar_files(path)]
        return sum(path.stat().st_size for path in (*lines, *parts, *bars))

    def _bars(self, paths: list[Path], progress: Progress) -> Iterator[Entry]:
        return read_bar_entries(
            paths,
            progress,
            interval=self.interval,
            calendar=self.calendar,
            tz=self.tz,
            label=self.label,
        )


def iterate(inputs: ReplayInputs, progress: Progress | None = None) -> Iterator[Raw]:
    """Yield the log that the inputs make: by time, then input, then line; offsets from 0.

    The same inputs give the same log, however fast it is read. Of a mood index come the last
    value known when the market data begin, and those from then to their end.
    """
    progress = progress or Progress()
    progress.total = inputs.size()
    offset = 0
    waiting: list[Entry] = []  # moods, until something else follows
    for entry in _merged(inputs.streams(progress)):
        if entry[2] == "mood":
            waiting.append(entry)
            continue
        for mood in waiting:
            yield _raw(offset, mood)
            offset += 1
        waiting.clear()
        _, path, kind, ts_init, payload, reason = entry
        yield Raw(
            offset=offset, path=path, kind=kind, ts_init=ts_init, payload=payload, reason=reason
        )
        offset += 1


def _raw(offset: int, entry: Entry) -> Raw:
    _, path, kind, ts_init, payload, reason = entry
    return Raw(offset=offset, path=path, kind=kind, ts_init=ts_init, payload=payload, reason=reason)


def _merged(streams: list[Iterator[Entry]]) -> Iterator[Entry]:
    """Merge by key; at equal keys the earlier stream goes first."""
    heads = [(entry[0], place, entry) for place, stream in enumerate(streams)
             if (entry := next(stream, None)) is not None]  # fmt: skip
    heapq.heapify(heads)
    while heads:
        _, place, head = heapq.heappop(heads)
        yield head
        # Go on with this stream for as long as no other is due: far cheaper than a heap.
        if not heads:
            yield from streams[place]
            return
        until, other, _ = heads[0]
        for entry in streams[place]:
            if entry[0] < until or (entry[0] == until and place < other):
                yield entry
            else:
                heapq.heappush(heads, (entry[0], place, entry))
                break


def symbols_in(inputs: ReplayInputs) -> tuple[str, ...]:
    """Return every symbol with trades, quotes or bars in the inputs, sorted.

    Some corrupt messages must not widen the universe: a symbol needs three, and one for every
    thousand of a usual symbol, which is the one that the middle message names. So in a small
    recording three are enough. In bar files it needs three bars where another has thirty.
    Where no symbol has as much, all count.
    """
    messages: Counter[str] = Counter()
    declared: set[str] = set()
    for path in inputs.kinds.get("recording", []):
        if (known := head_symbols(path)) is not None:
            declared.update(known)
            continue
        _count_symbols(path, messages)
    for path in inputs.kinds.get("journal", []):
        for item in read_journal(path):
            if isinstance(item, Raw) and item.kind in {"binance", "bar"}:
                _count_symbol(item.payload, messages)
    bars: Counter[str] = Counter()
    for path in inputs.kinds.get("bars", []):
        try:
            frame = read_bars(path, tz=inputs.tz, label=inputs.label, interval=inputs.interval)
        except BarFileError as error:
            raise InputError(str(error)) from error
        bars.update(dict(frame["symbol"].value_counts().iter_rows()))
    many = max(bars.values(), default=0) >= _MANY
    found = _named(messages, max(_SUPPORT, _usual(messages) // _SHARE))
    return tuple(sorted(declared | found | _named(bars, _SUPPORT if many else 1)))


def _named(counts: Mapping[str, int], support: int) -> set[str]:
    return {symbol for symbol, count in counts.items() if count >= support} or set(counts)


def _usual(counts: Counter[str]) -> int:
    """Return the count of the symbol that the middle message names; rubbish cannot move it."""
    passed = 0
    for _, count in counts.most_common():
        passed += count
        if 2 * passed >= counts.total():
            return count
    return 0


def _count_symbols(recording: Path, counts: Counter[str]) -> None:
    for file in recording_files(recording):
        for line in read_lines(file):
            if isinstance(line, bytes):
                _count_symbol(line.partition(b" ")[2], counts)


def _count_symbol(payload: bytes, counts: Counter[str]) -> None:
    try:
        found = _MESSAGE(payload)
    except UNDECODABLE:
        return
    found = found.data or found
    used = found.u is not None if found.e is None else found.e in _USED
    symbol = found.s if used else found.symbol
    if symbol is not None and 0 < len(symbol) <= _LONGEST:
        counts[symbol] += 1


def _holds_clocks(journal: Path) -> bool:
    found = islice(read_journal(journal), _LOOKED_AT)
    return any(isinstance(item, Raw) and item.kind == "clock" for item in found)


def _moods(path: Path, start: int) -> Iterator[Entry]:
    entries = read_moods(path)
    before = [entry for entry in entries if entry[2] == "mood" and entry[0] <= start]
    yield from (entry for entry in entries if entry[2] == "bad")
    yield from before[-1:]
    yield from (entry for entry in entries if entry[2] == "mood" and entry[0] > start)


def _journal_entries(path: Path, progress: Progress) -> Iterator[Entry]:
    def read(count: int) -> None:
        progress.done += count

    key = 0
    for item in read_journal(path, read):
        if isinstance(item, Damage):
            text = f"{item.segment.name} at byte {item.position}: {item.why}"
            yield rejected(key, str(path), text.encode(), Reason.UNREADABLE)
            continue
        key = max(key, item.ts_init)
        yield (key, item.path, item.kind, item.ts_init, item.payload, item.reason)


def _headline_entries(path: Path, progress: Progress) -> Iterator[Entry]:
    yield from read_headlines(path, progress)


_READERS: dict[str, Callable[[Path, Progress], Iterator[Entry]]] = {
    "recording": read_recording,
    "journal": _journal_entries,
    "headlines": _headline_entries,
}
