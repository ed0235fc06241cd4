"""Read bars from a Lean data tree: `<class>/<market>/<resolution>/<symbol>/<date>_trade.zip`.

Each zip holds one CSV without a header: milliseconds of the local day at which the bar
starts, then OHLC and volume (trade), or OHLC and last size of bid and ask (quote).
"""

import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from models.calendars import DAY, sessions

_PRICES = ("open", "high", "low", "close")
_RESOLUTIONS = {"second": 10**9, "minute": 60 * 10**9}
_ZONES = {("equity", "usa"): "America/New_York", ("index", "ose"): "Asia/Tokyo"}  # else UTC
_QUOTE_AGE = 60 * 10**9  # an older quote says nothing about the spread now


class _File(NamedTuple):
    path: Path
    kind: str  # equity, crypto ...
    market: str
    interval: int
    symbol: str
    day: str
    trade: bool


def read(
    paths: list[Path], interval: int | None
) -> list[tuple[pl.DataFrame, Callable[[int], str]]]:
    """Return the rows of each day and symbol, and what gives a line's text back.

    Columns: symbol, ts_close, open, high, low, close, volume, line, and spread and imbalance
    of the quote that stands at the close. A day with quotes only gives bars of the mid
    price. Rows of US equities outside regular hours are left out. Raises ValueError.
    """
    files = [file for path in paths if (file := _file(path)) is not None]
    if interval is None and len({file.interval for file in files}) > 1:
        message = f"{paths[0].parents[2]} holds seconds and minutes: give the interval."
        raise ValueError(message)
    files = [file for file in files if interval in {None, file.interval}]
    if not files:
        message = f"{paths[0]} is no Lean file of second or minute bars in the interval asked for."
        raise ValueError(message)
    days: dict[tuple[str, ...], dict[bool, _File]] = {}
    for file in files:
        days.setdefault((file.kind, file.market, file.symbol, file.day), {})[file.trade] = file
    return [_day(day.get(True), day.get(False)) for day in days.values()]


def _file(path: Path) -> _File | None:
    """Say what a Lean zip holds, from its place in the tree; None for ticks and others."""
    parts = path.resolve().parts[-5:]
    day, _, what = path.stem.partition("_")
    if len(parts) < 5 or parts[2] not in _RESOLUTIONS or what not in {"trade", "quote"}:
        return None
    kind, market, resolution, symbol = parts[:4]
    if not (day.isdigit() and len(day) == 8):
        return None
    return _File(path, kind, market, _RESOLUTIONS[resolution], symbol.upper(), day, what == "trade")


def _day(trade: _File | None, quote: _File | None) -> tuple[pl.DataFrame, Callable[[int], str]]:
    sides = [f"{side}_{what}" for side in ("bid", "ask") for what in (*_PRICES, "size")]
    rows = None
    if quote is not None:
        rows, raw = _csv(file := quote, sides)
        rows = _quotes(rows)
    if trade is not None:
        standing = rows
        rows, raw = _csv(file := trade, [*_PRICES, "volume"])
        if standing is not None:
            known = standing.filter(pl.col("ts_close").is_not_null())
            rows = rows.sort("ts_close").join_asof(
                known.select("ts_close", "spread", "imbalance").sort("ts_close"),
                on="ts_close",
                strategy="backward",
                tolerance=_QUOTE_AGE,
            )
    assert rows is not None
    rows = rows.with_columns(symbol=pl.lit(file.symbol))
    if (file.kind, file.market) == ("equity", "usa"):
        rows = _regular_hours(rows, file)

    def text(line: int) -> str:
        return ",".join(v or "" for v in raw.row(line - 1))

    return rows, text


def _quotes(rows: pl.DataFrame) -> pl.DataFrame:
    bid, ask = pl.col("bid_size"), pl.col("ask_size")
    two_sided = (pl.col("bid_close") > 0) & (pl.col("ask_close") > 0)
    return rows.with_columns(
        *((pl.col(f"bid_{p}") + pl.col(f"ask_{p}")).truediv(2).alias(p) for p in _PRICES),
        volume=pl.lit(0.0),
        spread=pl.when(two_sided).then(pl.col("ask_close") - pl.col("bid_close")),
        imbalance=pl.when(two_sided & (bid + ask > 0)).then((bid - ask) / (bid + ask)),
    )


def _csv(file: _File, names: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return one zip's columns as numbers, with ts_close and line, and as they were."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            content = archive.read(archive.namelist()[0])
    except (zipfile.BadZipFile, zlib.error, OSError, IndexError, EOFError) as error:
        content = f"{file.path.name}: {error}".encode()  # becomes one bad row
    raw = pl.read_csv(
        io.BytesIO(content or b"empty"),
        has_header=False,
        schema=dict.fromkeys(("ms", *names), pl.String()),
        quote_char=None,
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
        missing_columns="insert",
    )
    # Milliseconds count wall-clock time: on a day of daylight saving too.
    local = pl.lit(file.day).str.to_datetime("%Y%m%d", time_unit="us") + pl.duration(
        milliseconds=pl.col("ms").cast(pl.Int64, strict=False)
    )
    zone = _ZONES.get((file.kind, file.market), "UTC")
    utc = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    columns = {name: pl.col(name).cast(pl.Float64, strict=False) for name in names}
    if file.kind == "equity":  # in 1/10,000; rounded, as polars' division is off by an ulp
        for name in names:
            if name.endswith(_PRICES):
                columns[name] = (columns[name] / 10_000).round(4)
    numbers = raw.select(
        *columns.values(),
        ts_close=utc.dt.epoch("us") * 1000 + file.interval,
        line=pl.int_range(1, pl.len() + 1, dtype=pl.Int64),
    )
    return numbers, raw


def _regular_hours(rows: pl.DataFrame, file: _File) -> pl.DataFrame:
    """Drop the bars before the open and after the close; rows without a time stay."""
    day = pl.Series([file.day]).str.to_datetime("%Y%m%d", time_unit="us")
    midnight = int(day.dt.replace_time_zone(_ZONES["equity", "usa"]).dt.epoch("us")[0]) * 1000
    grid = sessions("XNYS").grid(midnight, midnight + DAY, file.interval)
    within = pl.col("ts_close").is_between(grid[0], grid[-1]) if grid else pl.lit(value=False)
    return rows.filter(pl.col("ts_close").is_null() | within)
