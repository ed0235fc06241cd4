"""Turn bar files into log entries, with the Clocks that close their bars."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import polars as pl

from connectors.sources.entries import Entry, Progress, rejected
from models.bar_files import BarFileError, Label, read_bars_checked
from models.calendars import ALWAYS_OPEN, DAY, Calendar
from operators.checks import BarEntry
from operators.errors import InputError
from operators.messages import Reason

_YEAR = 366 * DAY
_HOUR = 3600 * 10**9
_SUPPORT = 3  # bars that a session needs to be one
_FEW = 100  # strays are fewer than one bar in so many; where more stand alone, data are sparse
_STEP = 512  # bars between two reports of progress


def read_bar_entries(
    paths: Sequence[Path],
    progress: Progress,
    *,
    interval: int,
    calendar: Calendar,
    tz: str | None = None,
    label: Label = "close",
) -> Iterator[Entry]:
    """Yield the bars of all `paths` by close and symbol, a Clock behind those of each close.

    A boundary in session at which no bar closes has its Clock too, from the first bar to the
    last, unless its whole session is without bars. A session of one or two bars among longer
    ones is none: they are rejected as of a wrong date (where trading never closes: those an
    hour from all others). Rows that are no bars come as rejected entries before the first.
    Raises InputError where a path holds no bars.
    """
    frames = []
    for place, path in enumerate(paths):
        try:
            frame, bad = read_bars_checked(path, tz=tz, label=label, interval=interval)
        except BarFileError as error:
            raise InputError(str(error)) from error
        for row in bad:
            text = f"line {row.line}: {row.text}"
            yield rejected(0, str(path), text.encode(), Reason(row.why))
        frames.append(frame.with_columns(path=pl.lit(place)))
    bars = pl.concat(frames).sort("ts_close", "symbol", "path")
    for alone in (_lone, _stray):
        wrong = alone(bars["ts_close"], interval, calendar)
        for bar in bars.filter(pl.col("ts_close").is_in(wrong)).iter_rows(named=True):
            yield rejected(0, str(paths[bar["path"]]), msgspec.json.encode(bar), Reason.BAD_VALUE)
        bars = bars.filter(~pl.col("ts_close").is_in(wrong))
    if bars.is_empty():
        return
    files = [file for path in paths for file in bar_files(path)]
    size, given, count = sum(file.stat().st_size for file in files), 0, 0
    for entry in _with_clocks(bars, [str(path) for path in paths], interval, calendar):
        yield entry
        count += entry[2] == "bar"
        if count % _STEP == 0 or count == bars.height:
            progress.done += size * count // bars.height - given
            given = size * count // bars.height


def bar_files(path: Path) -> list[Path]:
    """Return the files that the bars of `path` may come from."""
    return [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]


def _with_clocks(
    bars: pl.DataFrame, names: list[str], interval: int, calendar: Calendar
) -> Iterator[Entry]:
    encode = msgspec.json.Encoder().encode
    boundaries = iter(_boundaries(bars["ts_close"], interval, calendar))
    boundary = next(boundaries, None)
    columns = ("symbol", "ts_close", "open", "high", "low", "close", "volume", "spread",
               "imbalance", "path")  # fmt: skip
    for symbol, close, *numbers, path in bars.select(columns).iter_rows():
        while boundary is not None and boundary < close:
            yield _clock(boundary, names[0])
            boundary = next(boundaries, None)
        *of_bar, spread, imbalance = numbers
        without_vwap = (*of_bar, None, spread, imbalance)
        bar = BarEntry(symbol, interval, close, *without_vwap)
        yield (close, names[path], "bar", close, encode(bar), None)
    while boundary is not None:
        yield _clock(boundary, names[0])
        boundary = next(boundaries, None)


def _clock(at: int, name: str) -> Entry:
    return (at, name, "clock", at, b'{"ts_event":%d}' % at, None)


def _boundaries(closes: pl.Series, interval: int, calendar: Calendar) -> list[int]:
    """Return the closes that have a Clock: the grid of every session that holds a bar."""
    held = _sessions(closes, interval, calendar)
    if not held:
        return []
    first = min(inside[0] for inside in held.values())
    last = max(inside[-1] for inside in held.values())
    grid: list[int] = []
    for opens, ends in held:
        begin = max(opens, first - 1)
        grid += calendar.grid(begin, min(ends + interval - 1, last), interval)
    return grid


def _sessions(
    closes: pl.Series, interval: int, calendar: Calendar
) -> dict[tuple[int, int], list[int]]:
    """Return the distinct closes on the grid of each session that holds any, by its bounds."""
    held: dict[tuple[int, int], list[int]] = {}
    for close in closes.unique().sort().to_list():
        session = calendar.session_of(close, interval)
        if session is not None and close % interval == 0:
            held.setdefault((session.opens, session.closes), []).append(close)
    return held


def _stray(closes: pl.Series, interval: int, calendar: Calendar) -> list[int]:
    """Return the closes of a wrong day: they would else make a session of their own."""
    if calendar.name == ALWAYS_OPEN:
        found = _islands(closes, max(_HOUR, 60 * interval))
        return found if len(found) <= max(2, len(closes) // _FEW) else []
    held = list(_sessions(closes, interval, calendar).values())
    # Bars of hours or days are few in any session.
    if max(map(len, held), default=0) < _SUPPORT:
        return []
    bars = dict(closes.value_counts().iter_rows())
    thin = (inside for inside in held if sum(bars[close] for close in inside) < _SUPPORT)
    return [close for inside in thin for close in inside]


def _lone(closes: pl.Series, interval: int, calendar: Calendar) -> list[int]:  # noqa: ARG001
    """Return closes a year away from all others: of a wrong year, in session or not."""
    return _islands(closes, _YEAR)


def _islands(closes: pl.Series, gap: int) -> list[int]:
    """Return closes more than `gap` away from all others, if at most two bars stand there."""
    counts = closes.value_counts().sort("ts_close")
    islands = counts.with_columns(
        island=(pl.col("ts_close").diff() > gap).fill_null(value=False).cum_sum()
    ).with_columns(bars=pl.col("count").sum().over("island"))
    if islands["bars"].max() in {None, 1, 2}:
        return []
    return islands.filter(pl.col("bars") < _SUPPORT)["ts_close"].to_list()
