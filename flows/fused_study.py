"""What fusing the legs is worth: the engine over unseen sessions, with all legs and each alone.

The legs' priors are the only thing that differs between the runs; models, costs, risk and the paper
portfolio are those of serving. No data here hold headlines and prices together, so the
sentiment leg is silent in all of them.
"""

import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from connectors.sinks.store import open_store
from flows.engine import run_replay
from flows.settings import Settings
from flows.summary import summarise
from models import statistics
from models.features import Floats
from operators.fusion import FusionSettings

RUNS = {
    "fused": FusionSettings(),
    "forecast alone": FusionSettings(forecast=1.0, policy=0.0, sentiment=0.0),
    "policy alone": FusionSettings(forecast=0.0, policy=1.0, sentiment=0.0),
}
BUSINESS_DAYS = 252


def study(settings: Settings, bars: pl.DataFrame) -> dict[str, Any]:
    """Replay `bars` (of `models.bar_files.read_bars`) once for each of `RUNS`.

    `ic` is Spearman's correlation of score or leg with the return at the horizon, `net` the
    paper portfolio's, after costs; intervals are 95 %, by bootstrap over days (or hours, where
    `blocks` says so), of `better` over the same days.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.parquet"
        bars.rename({"ts_close": "ts"}).write_parquet(path)
        runs = {
            name: _run(msgspec.structs.replace(settings, fusion=fusion), path, Path(folder) / name)
            for name, fusion in RUNS.items()
        }
    fused = runs.pop("fused")
    return {
        **fused["figures"],
        "alone": {name: run["figures"] for name, run in runs.items()},
        "better": {name: _difference(fused["net"], run["net"]) for name, run in runs.items()},
    }


def _run(settings: Settings, path: Path, store: Path) -> dict[str, Any]:
    run_replay(settings, [path], store)
    with closing(open_store(store, readonly=True)) as opened:
        summary = summarise(opened)
        outcomes = _columns(
            opened,
            "SELECT ts_close, realised_return, score, forecast_value, policy_value FROM outcomes",
        )
        worth = _columns(opened, "SELECT ts_close, equity FROM portfolio ORDER BY ts_close")
    blocks, kind = statistics.blocks_of(outcomes["ts_close"].astype(np.int64))

    def ic(name: str) -> list[float]:
        said = np.isfinite(outcomes[name])
        statistic = statistics.weighted_ic(outcomes[name][said], outcomes["realised_return"][said])
        return statistics.block_bootstrap(statistic, blocks[said])

    net = _by_day(worth["ts_close"].astype(np.int64), worth["equity"])
    figures = {
        "n": len(blocks),
        "blocks": kind,
        "ic": {name: ic(name) for name in ("score", "forecast_value", "policy_value")},
        "net": {
            "return": float(np.expm1(np.log1p(list(net.values())).sum())),
            "sharpe": sharpe(np.array(list(net.values()))),
            "by_day": {str(np.datetime64(day, "D")): value for day, value in net.items()},
        },
        "effective_weights": summary["effective_weights"],
        "signals": summary["signals"],
        "approved": summary["approved"],
        "pnl": summary["pnl"],
    }
    return {"figures": figures, "net": net}


def sharpe(daily: Floats) -> list[float]:
    """Return the annualised Sharpe ratio of daily returns, with its interval by drawing days."""

    def statistic(weights: Floats) -> float:
        mean = weights @ daily / weights.sum()
        variance = weights @ (daily - mean) ** 2 / weights.sum()
        return float(mean / np.sqrt(variance) * np.sqrt(BUSINESS_DAYS)) if variance > 0.0 else 0.0

    return statistics.block_bootstrap(statistic, np.arange(len(daily)))


def _by_day(ts_close: statistics.Integers, equity: Floats) -> dict[int, float]:
    """Return each UTC day's return of the portfolio."""
    days = ts_close // 86_400_000_000_000
    last = {int(day): float(equity[days == day][-1]) for day in np.unique(days)}
    found, before = {}, float(equity[0])
    for day, worth in last.items():
        found[day] = worth / before - 1.0
        before = worth
    return found


def _difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return the mean daily return more than the other's, in basis points, with its interval."""
    days = sorted(ours.keys() & theirs.keys())
    more = np.array([(ours[day] - theirs[day]) * 1e4 for day in days])
    return statistics.block_bootstrap(statistics.weighted_mean(more), np.arange(len(more)))


def _columns(store: sqlite3.Connection, query: str) -> dict[str, Floats]:
    rows = store.execute(query).fetchall()
    names = [
        part.strip()
        for part in query.split(" FROM ", maxsplit=1)[0].removeprefix("SELECT ").split(",")
    ]
    return {
        name: np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)
        for name in names
    }
