"""The training data of an interval, cut by time where the forecast's is.

The forecast's fitting sessions train the policy, its tuning and calibration sessions choose
it, its test sessions measure it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models import datasets, seen
from models.bar_files import read_bars
from models.context import relative_bars
from models.datasets import SymbolBars
from models.lstm_transformer.samples import (
    HORIZONS,
    INTERVALS,
    RELATIVE,
    SOURCES,
    Source,
    nanoseconds,
)
from models.ppo.market import Market, market_of
from models.runtime import sha256_of
from models.schema import WINDOW

USES = ("train", "validation", "test")


@dataclass
class Splits:
    """The bars of each source, and the market that each split makes of them."""

    bars: dict[str, dict[str, SymbolBars]] = field(default_factory=dict)  # by source
    markets: dict[str, dict[str, Market]] = field(default_factory=dict)  # by use, by source
    # The same with the features as the policy reads them: against the market where it does.
    inputs: dict[str, dict[str, Market]] = field(default_factory=dict)
    spans: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 by path

    @property
    def seen(self) -> list[dict[str, Any]]:
        """What the manifest lists as seen: all but the test split."""
        keys = ("dataset", "symbols", "from_ns", "to_ns", "use")
        return [{key: span[key] for key in keys} for span in self.spans if span["use"] != "test"]


def assemble(interval: str, data: Path, cache: Path | None, longest: int) -> Splits:
    """Read every source of `interval` below `data` and cut it where the forecast cuts it.

    Episodes are at most `longest` bars.
    """
    splits = Splits(
        markets={use: {} for use in USES},
        inputs={use: {} for use in USES},
    )
    for source in SOURCES[interval]:
        path = data / source.path
        frame = read_bars(path, tz=source.tz, label=source.label, interval=INTERVALS[interval])
        kept = frame["symbol"].unique().sort().head(source.first_symbols or frame.height)
        bars = datasets.from_frame(
            frame.filter(pl.col("symbol").is_in(kept.to_list())),
            interval_ns=INTERVALS[interval],
            calendar=source.calendar,
            cache=cache,
        )
        for file in [path] if path.is_file() else sorted(path.rglob("*.zip")):
            splits.files[str(file.relative_to(data))] = sha256_of(file)
        splits.bars[source.name] = bars
        read = relative_bars(bars) if RELATIVE[interval] else bars
        for use, (after, until) in _edges(source).items():
            # After a cut a window and a horizon are left out, as for the forecast.
            skip = 0 if use == "train" else WINDOW + HORIZONS[interval]
            market, seen_by_policy = (
                market_of(each, after=after, until=until, skip=skip, longest=longest)
                for each in (bars, read)
            )
            splits.markets[use][source.name] = market
            splits.inputs[use][source.name] = seen_by_policy
            splits.spans.append(_span(source.name, market, use))
    return splits


def _edges(source: Source) -> dict[str, tuple[int, int]]:
    tune, _, test = (nanoseconds(cut) for cut in source.cuts)
    return dict(
        zip(USES, ((0, tune), (tune, test), (test, nanoseconds(source.until))), strict=True)
    )


def _span(name: str, market: Market, use: str) -> dict[str, Any]:
    acted = market.ts_close[market.ready]
    named = [market.symbols[code] for code in np.unique(market.symbol_of[market.ready])]
    line = seen.span(name, named, int(acted.min()), int(acted.max()), use)
    return line | {"rows": len(acted), "episodes": len(market.episodes)}
