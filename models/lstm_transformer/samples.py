"""Training samples: which rows of which bars serve for fit, tuning, calibration and test.

Splits are by time, session after session. A row belongs to a split when its own bar lies in
it; labels never leave a session and every cut lies between sessions (or is followed by an
embargo), so no label of one split reaches into the next. After a cut the first rows are
left out as well: their windows would still look back into the split before.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models import datasets
from models.bar_files import Label, read_bars
from models.context import relative_bars
from models.datasets import Flags, Integers, SymbolBars
from models.features import Floats, Singles
from models.runtime import sha256_of
from models.schema import WINDOW

USES = ("fit", "tune", "calibrate", "test")
FLAT = 1e-9  # below this volatility a symbol has not moved, and a return has no scale
TARGET_CLIP = 6.0
STRIDE = 5  # of the splits that are measured on


@dataclass(frozen=True)
class Source:
    """One data set of a training: where it lies, how it is read and where it is cut."""

    name: str
    path: str  # inside the data folder
    calendar: str
    cuts: tuple[str, str, str]  # first moment (UTC) of tuning, of calibration, of test
    until: str  # the data after it is not used
    stride: int  # every so many bars a fitting row: neighbours share most of their horizon
    tz: str | None = None
    label: Label = "close"
    first_symbols: int | None = None  # of the alphabet; the others are never looked at


# The one-minute cuts leave 22 sessions to fit, 2 to tune, 2 to calibrate and the last 8 to
# test. The one-second data has few days: three for equities, a day and a half for bitcoin.
SOURCES: dict[str, tuple[Source, ...]] = {
    "1m": (
        Source(
            name="us_equities_1m_2018-02-16_2018-04-06",
            path="bars/us_equities_1m_2018-02-16_2018-04-06.parquet",
            calendar="XNYS",
            cuts=("2018-03-21", "2018-03-23", "2018-03-27"),
            until="2018-04-08",
            stride=5,
            tz="America/New_York",
            # Enough to learn from; the last 68 stay behind as symbols never seen.
            first_symbols=216,
        ),
    ),
    "1s": (
        Source(
            name="lean equity usa second 2013-10-07..11",
            path="bars/lean/equity/usa/second",
            calendar="XNYS",
            cuts=("2013-10-10", "2013-10-10T17:00", "2013-10-11"),
            until="2013-10-12",
            stride=3,
        ),
        Source(
            name="lean crypto coinbase second 2016-10-07..09",
            path="bars/lean/crypto/coinbase/second",
            calendar="24/7",
            cuts=("2016-10-08T12:00", "2016-10-08T18:00", "2016-10-09"),
            until="2016-10-10",
            stride=5,
        ),
    ),
}
INTERVALS = {"1s": 1_000_000_000, "1m": 60_000_000_000}
HORIZONS = {"1s": 60, "1m": 15}  # bars
# Whether a model reads features against the market. The seconds have four symbols and one alone.
RELATIVE = {"1s": False, "1m": True}


@dataclass(frozen=True)
class Samples:
    """Labelled rows. Windows end at `rows` of the stacked features."""

    rows: Integers  # (n,) into Stack.features
    ts_close: Integers
    symbol: Integers  # index into Stack.symbols
    returns: Floats  # log return over the horizon
    target: Floats  # the same in units of volatility * sqrt(horizon), clipped
    neutral: Floats  # target less its mean over all symbols at that bar close

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, chosen: Flags | Integers) -> "Samples":
        """Return the chosen samples."""
        return Samples(**{each.name: getattr(self, each.name)[chosen] for each in fields(self)})


def join(parts: list[Samples]) -> Samples:
    """Return the samples of all `parts`, one after the other."""
    return Samples(
        **{
            each.name: np.concatenate([getattr(part, each.name) for part in parts])
            for each in fields(Samples)
        }
    )


@dataclass(frozen=True)
class Stack:
    """All feature rows of all symbols one under the other, and the samples of each split."""

    features: Singles  # (rows, features)
    inputs: Singles  # (rows, features): what the model reads, against the market where it does
    ts_close: Integers  # (rows,)
    symbol_of: Integers  # (rows,) into symbols
    symbols: tuple[str, ...]
    splits: dict[str, Samples]
    spans: list[dict[str, Any]]  # what each split covers, by source
    files: dict[str, str]  # SHA-256 of the data files read

    def windows(self, samples: Samples) -> Singles:
        """Return the samples' model inputs, (n, WINDOW, features)."""
        out: Singles = self.inputs[samples.rows[:, None] + np.arange(1 - WINDOW, 1)]
        return out


def nanoseconds(moment: str) -> int:
    """Return an ISO date or time, taken as UTC, as UNIX nanoseconds."""
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def assemble(interval: str, data: Path, cache: Path | None) -> Stack:
    """Read every source of `interval` below `data` and cut it into splits."""
    features: list[Singles] = []
    inputs: list[Singles] = []
    closes: list[Integers] = []
    symbols: list[str] = []
    parts: dict[str, list[Samples]] = {use: [] for use in USES}
    spans: list[dict[str, Any]] = []
    files: dict[str, str] = {}
    for source in SOURCES[interval]:
        path = data / source.path
        frame = read_bars(path, tz=source.tz, label=source.label, interval=INTERVALS[interval])
        kept = frame["symbol"].unique().sort().head(source.first_symbols or frame.height)
        by_symbol = datasets.from_frame(
            frame.filter(pl.col("symbol").is_in(kept.to_list())),
            interval_ns=INTERVALS[interval],
            calendar=source.calendar,
            cache=cache,
        )
        for file in [path] if path.is_file() else sorted(filter(Path.is_file, path.rglob("*"))):
            files[str(file.relative_to(data))] = sha256_of(file)
        market = relative_bars(by_symbol) if RELATIVE[interval] else by_symbol
        found: dict[str, list[Samples]] = {use: [] for use in USES}
        for bars in by_symbol.values():
            base = sum(len(each) for each in features)
            for use, chosen in _samples(bars, source, HORIZONS[interval], base, len(symbols)):
                found[use].append(chosen)
            features.append(bars.features)
            inputs.append(market[bars.symbol].features)
            closes.append(bars.ts_close)
            symbols.append(bars.symbol)
        reach = HORIZONS[interval] * INTERVALS[interval]
        for use in USES:
            every = source.stride if use == "fit" else STRIDE
            chosen = _every(_neutral(join(found[use])), every, INTERVALS[interval])
            parts[use].append(chosen)
            spans.append(_span(source.name, use, chosen, symbols, reach))
    splits = {use: join(parts[use]) for use in USES}
    rows = np.concatenate(features)
    read = np.concatenate(inputs) if RELATIVE[interval] else rows
    of = np.repeat(np.arange(len(closes)), [len(each) for each in closes])
    return Stack(rows, read, np.concatenate(closes), of, tuple(symbols), splits, spans, files)


def _samples(
    bars: SymbolBars, source: Source, horizon: int, base: int, code: int
) -> Iterator[tuple[str, Samples]]:
    """Yield one symbol's ready, labelled rows of each split, with an embargo at each cut."""
    moved = datasets.labels(bars, horizon)
    usable = bars.ready & np.isfinite(moved) & (bars.volatility > FLAT)
    edges = [0, *(nanoseconds(cut) for cut in source.cuts), nanoseconds(source.until)]
    for number, use in enumerate(USES):
        begin, end = edges[number], edges[number + 1]
        inside = (bars.ts_close > begin) & (bars.ts_close + horizon * bars.interval <= end)
        if number:
            first = int(np.searchsorted(bars.ts_close, begin, side="right"))
            inside[: first + WINDOW + horizon] = False
        at = np.flatnonzero(inside & usable)
        target = moved[at] / (bars.volatility[at] * np.sqrt(horizon))
        target = np.clip(target, -TARGET_CLIP, TARGET_CLIP)
        yield (
            use,
            Samples(
                rows=at + base,
                ts_close=bars.ts_close[at],
                symbol=np.full(len(at), code),
                returns=moved[at],
                target=target,
                neutral=target,
            ),
        )


def _neutral(samples: Samples) -> Samples:
    """Take the market out of `neutral`: the mean target of all symbols at that bar close."""
    _, moment = np.unique(samples.ts_close, return_inverse=True)
    market = np.bincount(moment, samples.target) / np.maximum(np.bincount(moment), 1)
    return replace(samples, neutral=samples.target - market[moment])


def _every(samples: Samples, stride: int, interval: int) -> Samples:
    """Thin to each `stride`-th bar; symbols take turns, so that no moment is left out."""
    return samples.take((samples.ts_close // interval + samples.symbol) % stride == 0)


def _span(
    dataset: str, use: str, samples: Samples, symbols: list[str], reach: int
) -> dict[str, Any]:
    """Describe a split; it ends where its last label does, `reach` ns after its last row."""
    return {
        "dataset": dataset,
        "use": use,
        "rows": len(samples),
        "symbols": sorted(symbols[code] for code in np.unique(samples.symbol)),
        "from_ns": int(samples.ts_close.min()),
        "to_ns": int(samples.ts_close.max()) + reach,
    }
