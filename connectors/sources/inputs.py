"""Merge recorded inputs of any kind into one log."""

import heapq
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from connectors.journal import Damage, read_journal, segments
from connectors.sources.bar_entries import bar_files, read_bar_entries
from connectors.sources.entries import Entry, Progress, rejected
from connectors.sources.forms import form_of
from connectors.sources.news_files import entry_of, read_headlines, read_moods
from connectors.sources.recording import read_lines, read_recording
from models.bar_files import BarFileError, Label, read_bars
from models.calendars import CalendarError, sessions
from operators.errors import InputError
from operators.messages import SECOND, Headline, Mood, Raw, Reason

_MARKET = frozenset({"binance", "bar", "clock"})
_SUPPORT = 3  # messages that a symbol needs to be one
_SYMBOL = re.compile(rb'"s(?:ymbol)?":\s*"([^"\\]{1,64})"')
_TYPE = re.compile(rb'"e":\s*"([^"]*)"')
_USED = frozenset({b"trade", b"aggTrade", b"bookTicker", b"kline"})


class ReplayInputs:
    """The inputs of a replay, checked to be there and of a known form.

    `paths` may be recordings, bar files, folders of them and Lean trees, journals, headline
    files and the Fear & Greed CSV, in any number; `notices` are headlines and moods given
    directly. `tz`, `label`, `interval` (ns) and `calendar` say how bar files are read. Raises
    InputError for a path that is missing or unknown.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
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
        # The order of merging is that of the command line, all bar files standing as one.
        self.order = {path: place for place, path in reversed(list(enumerate(map(Path, paths))))}

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

    def size(self) -> int:
        """Return the bytes to be read, as far as progress can be told."""
        lines = [p for kind in ("recording", "headlines") for p in self.kinds.get(kind, [])]
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

    A symbol that fewer than three messages name counts only if none has more: one
    corrupt message must not widen the universe.
    """
    counts: dict[bytes, int] = {}
    for path in inputs.kinds.get("recording", []):
        for line in read_lines(path):
            if isinstance(line, bytes):
                _count_symbol(line, counts)
    for path in inputs.kinds.get("journal", []):
        for item in read_journal(path):
            if isinstance(item, Raw) and item.kind in {"binance", "bar"}:
                _count_symbol(item.payload, counts)
    found = {symbol for symbol, count in counts.items() if count >= _SUPPORT} or set(counts)
    symbols = {symbol.decode(errors="replace") for symbol in found}
    for path in inputs.kinds.get("bars", []):
        try:
            bars = read_bars(path, tz=inputs.tz, label=inputs.label, interval=inputs.interval)
        except BarFileError as error:
            raise InputError(str(error)) from error
        symbols.update(bars["symbol"].unique().to_list())
    return tuple(sorted(symbols))


def _count_symbol(line: bytes, counts: dict[bytes, int]) -> None:
    kind = _TYPE.search(line)
    if kind is not None and kind[1] not in _USED:
        return
    if not line.endswith((b"}", b"}\r")):  # cut short
        return
    if (symbol := _SYMBOL.search(line)) is not None:
        counts[symbol[1]] = counts.get(symbol[1], 0) + 1


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
