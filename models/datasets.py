"""Stored bars become training data: the grid, the features and the labels of serving.

The bars are laid on the calendar's grid as the bars stage lays live ones (quiet bars carry
the last price and no volume), and `models.features.feature_row` computes each row. So a
row here equals, bit for bit, the row that the indicators stage gives for the same bars.
"""

import hashlib
import inspect
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models import features as feature_code
from models.bar_files import Label, read_bars
from models.calendars import Calendar, Session, sessions
from models.features import (
    CLOSE,
    COLUMNS,
    HIGH,
    IMBALANCE,
    LOW,
    QUIET,
    SPREAD,
    VOLUME,
    VWAP,
    Floats,
    Singles,
    feature_row,
)
from models.schema import FEATURES, HISTORY, LOOKBACK, SCHEMA_HASH, WINDOW

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

QUOTE_BARS = 60  # as the bars stage's setting of that name
ALWAYS = -1  # session_left where trading never closes
_WORKERS = 2
_ALONE = 20_000  # rows below which starting processes costs more than they save


@dataclass(frozen=True, slots=True)
class SymbolBars:
    """One symbol on the in-session grid, oldest bar first; all arrays have n rows.

    `bars` holds the columns of `models.features`; `session` is the open of each bar's
    session (ns), `session_left` counts the bars still to come (`ALWAYS` where trading never
    closes). `features` is (n, features), NaN in the rows before `LOOKBACK` bars exist.
    """

    symbol: str
    interval: int  # ns
    ts_close: Integers
    bars: Floats
    session: Integers
    session_index: Integers
    session_left: Integers
    session_fraction: Floats
    features: Singles
    volatility: Floats

    def __len__(self) -> int:
        return len(self.ts_close)

    @property
    def close(self) -> Floats:
        """Closing prices."""
        return self.bars[:, CLOSE]

    @property
    def ohlcv(self) -> Floats:
        """Open, high, low, close and volume, (n, 5)."""
        return self.bars[:, :5]

    @property
    def spread(self) -> Floats:
        """Spread in price units; NaN where there was no quote."""
        return self.bars[:, SPREAD]

    @property
    def imbalance(self) -> Floats:
        """Size imbalance of the last quote; NaN where there was none."""
        return self.bars[:, IMBALANCE]

    @property
    def quiet(self) -> Flags:
        """Bars without a trade."""
        return self.bars[:, QUIET] > 0.0

    @property
    def ready(self) -> Flags:
        """Rows whose model input is complete: from `HISTORY` bars on."""
        return np.arange(len(self)) >= HISTORY - 1

    def windows(self, rows: Integers) -> Singles:
        """Return the model inputs that end at `rows`, (rows, WINDOW, features)."""
        view = sliding_window_view(self.features, WINDOW, axis=0)  # (n - 59, features, WINDOW)
        return np.ascontiguousarray(view[rows - (WINDOW - 1)].transpose(0, 2, 1))


def labels(bars: SymbolBars, horizon: int) -> Floats:
    """Return the log return over the next `horizon` bars; NaN where it would leave the session.

    A label needs the bar exactly `horizon` intervals later, in the same session where the
    market closes: so neither a night nor a lunch break is ever part of one.
    """
    out = np.full(len(bars), np.nan)
    if len(bars) <= horizon:
        return out
    now, later = slice(None, -horizon), slice(horizon, None)
    adjacent = bars.ts_close[later] - bars.ts_close[now] == horizon * bars.interval
    left = bars.session_left[now]
    stays = adjacent & ((left == ALWAYS) | (left >= horizon))
    moved = np.log(bars.close[later] / bars.close[now])
    out[now] = np.where(stays, moved, np.nan)
    return out


def load(
    path: Path,
    *,
    interval_ns: int,
    tz: str | None = None,
    label: Label = "close",
    calendar: str,
    cache: Path | None = None,
    symbols: tuple[str, ...] | None = None,
) -> dict[str, SymbolBars]:
    """Read bars in any format of `models.bar_files`; return them by symbol, with features.

    A row of features costs about 165 us, so `cache` names a folder (outside the repository)
    where each symbol's result is kept. `symbols` limits what is computed.
    """
    frame = read_bars(path, tz=tz, label=label, interval=interval_ns)
    if symbols is not None:
        frame = frame.filter(pl.col("symbol").is_in(symbols))
    return from_frame(frame, interval_ns=interval_ns, calendar=calendar, cache=cache)


def from_frame(
    frame: pl.DataFrame, *, interval_ns: int, calendar: str, cache: Path | None = None
) -> dict[str, SymbolBars]:
    """As `load`, from a frame with the columns of `models.bar_files.read_bars`."""
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    parts = {str(name): part for (name,), part in frame.group_by("symbol")}
    jobs = []
    done: dict[str, SymbolBars] = {}
    for name in sorted(parts):
        file = None if cache is None else cache / _key(name, parts[name], interval_ns, calendar)
        if file is not None and file.is_file():
            done[name] = _read(file, name, interval_ns)
        else:
            jobs.append((name, parts[name], interval_ns, calendar, file))
    if sum(len(part) for _, part, *_ in jobs) < _ALONE:
        results = [_build(*job) for job in jobs]
    else:
        # Spawned, not forked: polars and ONNX Runtime hold threads that a fork would lose.
        with ProcessPoolExecutor(_WORKERS, mp_context=get_context("spawn")) as pool:
            results = list(pool.map(_build, *zip(*jobs, strict=True)))
    done.update({bars.symbol: bars for bars in results if len(bars)})
    return {name: done[name] for name in sorted(done)}


def grid_bars(
    part: pl.DataFrame, interval: int, hours: Calendar
) -> tuple[Integers, Floats, list[Session]]:
    """Lay one symbol's bars on its grid: closes, (n, COLUMNS) bars, and sessions.

    The grid runs over every session in which the symbol has a bar, from its first bar to the
    session's last grid point that is not after its last bar in the data. Bars outside
    sessions are dropped.
    """
    given = part.sort("ts_close").unique("ts_close", keep="last", maintain_order=True)
    stamps = given["ts_close"].to_numpy()
    placed = [hours.session_of(int(stamp), interval) for stamp in stamps]
    inside = np.array([session is not None for session in placed], bool)
    raw = _columns(given)[inside]
    stamps = stamps[inside]
    if not len(stamps):
        return np.empty(0, np.int64), np.empty((0, COLUMNS)), []
    spans = sorted({(s.opens, s.closes) for s in placed if s is not None})
    first, last = int(stamps[0]), int(stamps[-1])
    closes = [
        stamp
        for opens, shuts in spans
        for stamp in hours.grid(max(opens, first - 1), min(shuts + interval - 1, last), interval)
    ]
    grid = np.array(closes, np.int64)
    source = np.searchsorted(stamps, grid, side="right") - 1  # the last bar not after it
    bars = raw[source]
    age = (grid - stamps[source]) // interval
    quiet = age > 0
    bars[quiet] = quiet_rows(bars[quiet], age[quiet])
    return grid, bars, [_in_session(hours, stamp, interval) for stamp in closes]


def quiet_rows(last: Floats, age: Integers) -> Floats:
    """Return the bars, (n, COLUMNS), that stand `age` bars after `last` without a trade."""
    rows = np.empty_like(last)
    rows[:, :VOLUME] = last[:, CLOSE : CLOSE + 1]
    rows[:, VOLUME] = 0.0
    rows[:, VWAP] = last[:, CLOSE]
    # A quote stands until the next one, but not for ever.
    stands = age[:, None] <= QUOTE_BARS
    rows[:, [SPREAD, IMBALANCE]] = np.where(stands, last[:, [SPREAD, IMBALANCE]], np.nan)
    rows[:, QUIET] = 1.0
    return rows


def _columns(given: pl.DataFrame) -> Floats:
    """Return the columns of `models.features` for bars as a file gives them."""
    out = np.full((len(given), COLUMNS), np.nan)
    for index, name in enumerate(("open", "high", "low", "close", "volume")):
        out[:, index] = given[name].to_numpy()
    # Files of bars give no volume-weighted price; the typical price stands in for it.
    out[:, VWAP] = (out[:, HIGH] + out[:, LOW] + out[:, CLOSE]) / 3.0
    for index, name in ((SPREAD, "spread"), (IMBALANCE, "imbalance")):
        if name in given.columns:
            out[:, index] = given[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
    out[:, QUIET] = 0.0
    return out


def _in_session(hours: Calendar, stamp: int, interval: int) -> Session:
    session = hours.session_of(stamp, interval)
    if session is None:
        raise AssertionError(f"the grid of {hours.name} holds {stamp}, which is in no session")
    return session


def _build(
    name: str, part: pl.DataFrame, interval: int, calendar: str, file: Path | None
) -> SymbolBars:
    """Compute one symbol; runs in a worker process."""
    hours = sessions(calendar)
    grid, bars, placed = grid_bars(part, interval, hours)
    rows = np.full((len(grid), len(FEATURES)), np.nan, np.float32)
    volatility = np.zeros(len(grid))
    for end in range(LOOKBACK, len(grid) + 1):
        session = placed[end - 1]
        rows[end - 1], volatility[end - 1] = feature_row(
            bars[end - LOOKBACK : end], session.session_index, session.session_fraction
        )
    left = [ALWAYS if s.session_left is None else s.session_left for s in placed]
    result = SymbolBars(
        symbol=name,
        interval=interval,
        ts_close=grid,
        bars=bars,
        session=np.array([s.opens for s in placed], np.int64),
        session_index=np.array([s.session_index for s in placed], np.int64),
        session_left=np.array(left, np.int64),
        session_fraction=np.array([s.session_fraction for s in placed]),
        features=rows,
        volatility=volatility,
    )
    if file is not None:
        _write(file, result)
    return result


_ARRAYS = tuple(each.name for each in fields(SymbolBars) if each.name not in ("symbol", "interval"))


def _write(file: Path, bars: SymbolBars) -> None:
    fresh = file.with_name(f".{file.stem}.{os.getpid()}.npz")
    np.savez(fresh, **{name: getattr(bars, name) for name in _ARRAYS})
    fresh.replace(file)


def _read(file: Path, symbol: str, interval: int) -> SymbolBars:
    with np.load(file) as arrays:
        return SymbolBars(symbol, interval, **{name: arrays[name] for name in _ARRAYS})


def _key(symbol: str, part: pl.DataFrame, interval: int, calendar: str) -> str:
    """Name a cache file by what decides its content: the bars, the grid and the feature code.

    A correction to a calendar is not part of it: then start with an empty cache.
    """
    digest = hashlib.sha256(repr((symbol, interval, calendar, SCHEMA_HASH)).encode())
    for code in (feature_code, grid_bars, quiet_rows, _columns):
        digest.update(inspect.getsource(code).encode())
    ordered = part.sort("ts_close")
    digest.update(ordered["ts_close"].to_numpy().tobytes())
    digest.update(_columns(ordered).tobytes())
    return f"{symbol.replace('/', '_')}-{digest.hexdigest()[:16]}.npz"
