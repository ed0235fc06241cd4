"""Read OHLCV bars from files: CSV, Parquet, a folder of them, or a Lean data tree.

Every reader gives the same columns, with a bar named by its close in UNIX nanoseconds UTC.
A row that cannot be a bar is handed back apart, with the reason: it never stops a reader.

- CSV or Parquet with the columns symbol, ts, open, high, low, close, volume, and spread and
  imbalance if known. `ts` is a date and time, with a zone or in `tz`, or a number: UNIX
  seconds, milli-, micro- or nanoseconds, told apart by its size.
- `AAPL_1min.csv` as eqker/intraday_equities writes it: datetime (US/Eastern unless `tz` says
  otherwise), open, high, low, close, volume; the symbol is in the file's name.
- A folder of such files.
- A Lean data tree, see `lean_bars`; its bars are labelled by their start, whatever `label` says.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from models import lean_bars

type Label = Literal["close", "start"]
PRICES = ("open", "high", "low", "close")
QUOTES = ("spread", "imbalance")
COLUMNS = ("symbol", "ts_close", *PRICES, "volume", *QUOTES)
EASTERN = "America/New_York"
_FIRST = 946_684_800 * 10**9  # the year 2000
_LAST = 7_258_118_400 * 10**9  # the year 2200
# A time below this is in units of so many microseconds; from there on, in nanoseconds.
_UNITS = ((10**11, 1_000_000), (10**14, 1000), (10**17, 1))
_FORM = "%Y-%m-%d %H:%M:%S%.f"
_TEXT = 4096  # characters of a bad row that are kept


# Rows with a `line`, and what gives a line's text back.
type _Reading = tuple[pl.DataFrame, Callable[[int], str]]


class BarFileError(ValueError):
    """A file or folder that holds no bars in a known form."""


class BadRow(NamedTuple):
    """A row that is no bar; `why` is "unreadable", "bad_value" or "duplicate"."""

    line: int  # in its file, the header being line 1; a Parquet row counts from 0
    text: str
    why: str


def read_bars(
    path: Path,
    *,
    tz: str | None = None,
    label: Label = "close",
    interval: int | None = None,
) -> pl.DataFrame:
    """Return the bars of `path` sorted by (ts_close, symbol), leaving bad rows out.

    Columns: symbol (str), ts_close (int64), open, high, low, close, volume (float64),
    spread and imbalance (float64, null where unknown). `tz` is the zone of naive times;
    `interval` (ns) is needed for start labels unless the times show it, and picks the
    resolution of a Lean tree that holds several. Raises BarFileError.
    """
    return read_bars_checked(path, tz=tz, label=label, interval=interval)[0]


def read_bars_checked(
    path: Path,
    *,
    tz: str | None = None,
    label: Label = "close",
    interval: int | None = None,
) -> tuple[pl.DataFrame, list[BadRow]]:
    """Return the bars of `path` as `read_bars` does, and the rows that are none."""
    path = Path(path)
    if label not in {"close", "start"}:
        message = f'A bar is labelled by its "close" or its "start", not by {label!r}.'
        raise BarFileError(message)
    if not path.exists():
        message = f"There is no file or folder {path}."
        raise BarFileError(message)
    readings = _readings(path, tz, label, interval)
    rows = pl.concat(
        [_judge(part).with_columns(part=pl.lit(place)) for place, (part, _) in enumerate(readings)]
    )
    good = rows.filter(pl.col("why").is_null())
    kept = _kept(good)
    bad = pl.concat(
        [
            rows.filter(pl.col("why").is_not_null()),
            good.filter(~kept).with_columns(why=pl.lit("duplicate")),
        ]
    )
    return (
        good.filter(kept).select(COLUMNS).sort("ts_close", "symbol"),
        [
            BadRow(line, readings[part][1](line)[:_TEXT], why)
            for part, line, why in bad.select("part", "line", "why").iter_rows()
        ],
    )


def _kept(good: pl.DataFrame) -> pl.Series:
    """Tell of each row whether it is the bar of its symbol and close.

    Of several it is the one whose close is nearest to those of the bars before and after that
    have no double, the first of equals: a rubbish row does not take the place of a bar.
    """
    name = ["symbol", "ts_close"]
    first = good.select(pl.struct(name).is_first_distinct()).to_series()
    if first.all():
        return first
    rows = good.select(*name, "close").with_row_index("row").sort(*name, "row")
    alone = pl.when(pl.len().over(name) == 1).then("close")
    rows = rows.with_columns(
        before=alone.forward_fill().over("symbol"), after=alone.backward_fill().over("symbol")
    )
    apart = [(pl.col("close") - pl.col(side)).abs() for side in ("before", "after")]
    nearest = rows.sort(*name, pl.sum_horizontal(apart), "row").unique(name, keep="first")
    return pl.select(pl.int_range(good.height).is_in(nearest["row"].to_list())).to_series()


def _readings(path: Path, tz: str | None, label: Label, interval: int | None) -> list[_Reading]:
    if path.suffix == ".zip":
        return _lean([path], interval)
    if not path.is_dir():
        return [_table(path, tz, label, interval)]
    tables = sorted(p for p in path.iterdir() if p.suffix in {".csv", ".parquet"})
    if tables:
        return [_table(table, tz, label, interval) for table in tables]
    zips = sorted(p for ending in ("trade", "quote") for p in path.rglob(f"*_{ending}.zip"))
    if zips:
        return _lean(zips, interval)
    message = f"{path} holds no CSV or Parquet file and no Lean zip."
    raise BarFileError(message)


def _lean(paths: list[Path], interval: int | None) -> list[_Reading]:
    try:
        return lean_bars.read(paths, interval)
    except ValueError as error:
        raise BarFileError(str(error)) from error


def _table(path: Path, tz: str | None, label: Label, interval: int | None) -> _Reading:
    raw, first = _read_table(path)
    names = {"datetime": "ts"} if "ts" not in raw.columns else {}
    raw = raw.rename(names, strict=False)
    if "symbol" not in raw.columns and path.stem.endswith("_1min"):
        raw = raw.with_columns(symbol=pl.lit(path.stem.removesuffix("_1min")))
        tz = tz or EASTERN
    missing = [c for c in ("symbol", "ts", *PRICES, "volume") if c not in raw.columns]
    if missing:
        message = f"{path} has no column {missing[0]!r}: bars need symbol, ts, OHLC and volume."
        raise BarFileError(message)
    rows = raw.select(
        pl.col("symbol").cast(pl.String),
        *(pl.col(c).cast(pl.Float64, strict=False) for c in (*PRICES, "volume")),
        *(pl.col(c).cast(pl.Float64, strict=False) for c in QUOTES if c in raw.columns),
        ts_close=_utc(raw["ts"], tz, path),
        line=pl.int_range(first, pl.len() + first, dtype=pl.Int64),
    )
    if label == "start":
        step = interval or _spacing(rows["ts_close"], path)
        rows = rows.with_columns(pl.col("ts_close") + step)

    def text(line: int) -> str:
        return ",".join("" if v is None else str(v) for v in raw.row(line - first))

    return rows, text


def _read_table(path: Path) -> tuple[pl.DataFrame, int]:
    """Return the file's columns, those of a CSV as text, and the number of its first row."""
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path), 0
        # Lines are rows, whatever quotes or broken bytes they hold.
        raw = pl.read_csv(
            path,
            infer_schema=False,
            quote_char=None,
            encoding="utf8-lossy",
            truncate_ragged_lines=True,
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        why = str(error).splitlines()[0]
        message = f"{path} cannot be read as a table: {why}"
        raise BarFileError(message) from error
    stripped = raw.select(pl.all().str.strip_chars(' "\r'))
    return stripped.rename({c: c.strip(' "\r\ufeff').lower() for c in stripped.columns}), 2


def _utc(ts: pl.Series, tz: str | None, path: Path) -> pl.Series:
    """Return times as UTC ns; null where there is none."""
    if ts.dtype.is_numeric():
        return _from_number(ts)
    if isinstance(ts.dtype, pl.Datetime):
        aware = ts if ts.dtype.time_zone else _localise(ts, tz, path)
        return _epoch(aware)
    if ts.dtype != pl.String:
        message = f"{path} has times of type {ts.dtype}: expected date and time, or a number."
        raise BarFileError(message)
    # "2019-02-15 16:00:00", "2019-02-15T16:00:00.5Z", "2019-02-15 16:00-05:00", a number.
    text = ts.str.replace("T", " ", literal=True).str.replace(r"Z$", "+00:00")
    text = text.str.replace(r"^(\S+ \d\d:\d\d)($|[+-])", "${1}:00${2}")
    aware = text.str.to_datetime(_FORM + "%:z", strict=False, time_unit="us", time_zone="UTC")
    naive = text.str.to_datetime(_FORM, strict=False, time_unit="us")
    times = [_epoch(aware)]
    if naive.null_count() < len(naive):
        times.append(_epoch(_localise(naive, tz, path)))
    numbers = [_from_number(ts.cast(kind, strict=False)) for kind in (pl.Int64, pl.Float64)]
    return pl.select(pl.coalesce(*numbers, *times)).to_series()


def _from_number(ts: pl.Series) -> pl.Series:
    """Return UNIX times as ns; floats to the microsecond, which is as much as they hold."""
    time = pl.col("ts")
    if ts.dtype.is_float():
        micros = time / 1000
        for below, unit in reversed(_UNITS):
            micros = pl.when(time < below).then(time * unit).otherwise(micros)
        found = micros.round().clip(0, _LAST // 1000 + 1).cast(pl.Int64, strict=False) * 1000
        time = pl.when(time.is_finite()).then(found)
    else:
        ts = ts.cast(pl.Int64, strict=False)
        for below, unit in reversed(_UNITS):
            nanos = unit * 1000
            small = pl.col("ts").clip(0, _LAST // nanos + 1) * nanos
            time = pl.when(pl.col("ts") < below).then(small).otherwise(time)
    return pl.DataFrame({"ts": ts}).select(time).to_series()


def _epoch(aware: pl.Series) -> pl.Series:
    micros = aware.dt.convert_time_zone("UTC").dt.epoch("us")
    return micros.clip(0, _LAST // 1000 + 1) * 1000  # nanoseconds of the year 9999 overflow


def _localise(naive: pl.Series, tz: str | None, path: Path) -> pl.Series:
    if tz is None:
        message = f"{path} has times without a zone: say which one they are in (tz)."
        raise BarFileError(message)
    try:
        return naive.dt.replace_time_zone(tz, ambiguous="earliest", non_existent="null")
    except pl.exceptions.ComputeError as error:
        message = f"{tz!r} is not a time zone: use a name such as {EASTERN!r}."
        raise BarFileError(message) from error


def _spacing(ts: pl.Series, path: Path) -> int:
    steps = ts.drop_nulls().unique().sort().diff().drop_nulls()
    if steps.is_empty():
        message = f"{path} has too few bars to show their interval: give it (interval)."
        raise BarFileError(message)
    return int(steps.mode().min())  # type: ignore[arg-type]


def _judge(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `why`: null for a bar, else the reason the row is none."""
    absent = [pl.lit(None, pl.Float64).alias(c) for c in QUOTES if c not in rows.columns]
    numbers = (*PRICES, "volume")
    unreadable = pl.any_horizontal(
        *(pl.col(c).is_null() for c in ("symbol", "ts_close", *numbers)),
        pl.col("symbol").str.len_bytes() == 0,
    )
    good = pl.all_horizontal(
        *(pl.col(c).is_finite() for c in numbers),
        *(pl.col(c) > 0 for c in PRICES),
        pl.col("volume") >= 0,
        pl.col("high") >= pl.max_horizontal(*PRICES),
        pl.col("low") <= pl.min_horizontal(*PRICES),
        pl.col("ts_close").is_between(_FIRST, _LAST),
    )
    spread, imbalance = pl.col("spread"), pl.col("imbalance")
    return rows.with_columns(*absent).select(
        "symbol",
        "ts_close",
        *numbers,
        pl.when(spread.is_finite() & (spread >= 0)).then(spread).alias("spread"),
        pl.when(imbalance.abs() <= 1).then(imbalance).alias("imbalance"),
        "line",
        pl.when(unreadable)
        .then(pl.lit("unreadable"))
        .when(~good)
        .then(pl.lit("bad_value"))
        .alias("why"),
    )
