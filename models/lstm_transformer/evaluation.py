"""Measure a forecast artefact on bars it has not seen, beside its baselines.

python -m models.lstm_transformer.evaluation bars.csv --interval 1m --tz America/New_York
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from models import datasets, runtime, statistics
from models.bar_files import Label, read_bars
from models.calendars import ALWAYS_OPEN, sessions
from models.context import relative_bars
from models.datasets import Flags, SymbolBars
from models.features import Floats, Singles
from models.lstm_transformer.baselines import Logistic, momentum
from models.lstm_transformer.forecaster import Forecaster
from models.runtime import Artefact
from models.schema import HISTORY
from models.seen import SeenData, refuse_seen

__all__ = ["SeenData", "evaluate", "measure"]

STRIDE = 5  # neighbours share most of their horizon: each fifth bar says nearly as much
BATCH = 512


def evaluate(
    data: Path | pl.DataFrame,
    artefact: Artefact,
    *,
    allow_seen: bool = False,
    tz: str | None = None,
    label: Label = "close",
    calendar: str | None = None,
    cache: Path | None = None,
    stride: int = STRIDE,
    seed: int = 7,
) -> dict[str, Any]:
    """Return n, auc, ic, hit_rate, brier and ece as [estimate, low, high], and baselines.

    `ic` is of P(up), as the baselines' of their scores; `ic_value` of the leg's value.

    `data` is a file or folder of `models.bar_files`, or its frame. Every symbol is measured
    at the bar closes that are multiples of `stride` intervals, where the model input is
    complete and the label stays in the session; rows the model abstains from are counted
    apart. A return of exactly zero is neither up nor down: it counts for the IC only.
    `calendar` names the session hours; without it XNYS if the bars keep to its hours, else
    24/7.

    Raises:
        SeenData: the data overlaps what the model was made from, and not `allow_seen`.
        ValueError: nothing to measure, e.g. fewer bars than a model input needs.
    """
    entry = artefact.entry
    interval = int(entry["interval_ns"])
    if isinstance(data, Path):
        data = read_bars(data, tz=tz, label=label, interval=interval)
    if data.is_empty():
        raise ValueError("expected bars to evaluate on, found none")
    span = data.group_by("symbol").agg(
        first=pl.col("ts_close").min(), last=pl.col("ts_close").max()
    )
    for symbol, first, last in span.sort("symbol").iter_rows():
        refuse_seen(artefact.name, entry, [symbol], first, last, allow_seen=allow_seen)
    by_symbol = datasets.from_frame(
        data, interval_ns=interval, calendar=calendar or calendar_of(data, interval), cache=cache
    )
    return measure(by_symbol, artefact, stride=stride, seed=seed)


def calendar_of(frame: pl.DataFrame, interval: int) -> str:
    """Return "XNYS" if nearly all bars lie in its sessions, else "24/7"."""
    hours = sessions("XNYS")
    stamps = frame["ts_close"].unique().to_list()
    inside = sum(hours.session_of(stamp, interval) is not None for stamp in stamps)
    return "XNYS" if inside >= 0.95 * len(stamps) else ALWAYS_OPEN


def measure(
    by_symbol: dict[str, SymbolBars], artefact: Artefact, *, stride: int = STRIDE, seed: int = 7
) -> dict[str, Any]:
    """As `evaluate`, for bars with features."""
    horizon = int(artefact.entry["horizon_bars"])
    forecaster = Forecaster(artefact)
    read = relative_bars(by_symbol) if forecaster.relative else by_symbol
    p_up, value, returns, abstains, last, stamps = _predict(
        by_symbol, read, forecaster, horizon, stride
    )
    spoken = ~abstains
    if not spoken.any():
        raise ValueError(
            f"nothing to measure: {len(abstains)} complete inputs with a label, and the model "
            f"abstains from all; an input needs {HISTORY} bars of a symbol"
        )
    baseline = Logistic.read(artefact.folder / artefact.entry["logistic"])
    blocks, kind = statistics.blocks_of(stamps[spoken])
    report = _scores(p_up[spoken], value[spoken], returns[spoken], blocks, seed)
    rises = returns[spoken] > 0.0
    moved = returns[spoken] != 0.0
    others = {
        "logistic": baseline.probability(last[spoken]),
        "momentum": momentum(last[spoken], horizon),
    }
    return {
        "n": int(spoken.sum()),
        **report,
        "abstained": int(abstains.sum()),
        "unmoved": int((~moved).sum()),
        "base_rate": float(rises[moved].mean()) if moved.any() else None,
        "symbols": len(by_symbol),
        "stride": stride,
        "horizon_bars": horizon,
        "blocks": kind,
        "baselines": {
            name: {
                "auc": _interval(
                    statistics.weighted_auc(rises[moved], scores[moved]), blocks[moved], seed
                ),
                "ic": _interval(statistics.weighted_ic(scores, returns[spoken]), blocks, seed),
            }
            for name, scores in others.items()
        },
        "model": artefact.identity,
    }


def _predict(
    by_symbol: dict[str, SymbolBars],
    read: dict[str, SymbolBars],
    forecaster: Forecaster,
    horizon: int,
    stride: int,
) -> tuple[Floats, Floats, Floats, Flags, Singles, datasets.Integers]:
    """Run the model over all rows to measure: p_up, value, return, abstains, last row, time.

    `read` are the bars as the model reads them; the last row is as the baselines do.
    """
    parts: list[tuple[Any, ...]] = []
    for name, bars in by_symbol.items():
        moved = datasets.labels(bars, horizon)
        on_stride = bars.ts_close // bars.interval % stride == 0
        rows = np.flatnonzero(bars.ready & on_stride & np.isfinite(moved))
        for begin in range(0, len(rows), BATCH):
            at = rows[begin : begin + BATCH]
            ready = np.ones(len(at), bool)
            forecast = forecaster.predict_inputs(read[name].windows(at), bars.volatility[at], ready)
            parts.append(
                (
                    forecast.p_up,
                    forecast.value,
                    moved[at],
                    forecast.abstains,
                    bars.features[at],
                    bars.ts_close[at],
                )
            )
    if not parts:
        raise ValueError(
            f"nothing to measure: no symbol has {HISTORY} bars and a label "
            f"{horizon} bars later in the same session"
        )
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return columns[0], columns[1], columns[2], columns[3], columns[4], columns[5]


def _scores(
    p_up: Floats, value: Floats, returns: Floats, blocks: datasets.Integers, seed: int
) -> dict[str, list[float]]:
    moved = returns != 0.0
    rises = returns[moved] > 0.0
    chance = p_up[moved]
    pointed = moved & (value != 0.0)
    hits = (np.sign(value[pointed]) == np.sign(returns[pointed])).astype(np.float64)
    return {
        "auc": _interval(statistics.weighted_auc(rises, chance), blocks[moved], seed),
        "ic": _interval(statistics.weighted_ic(p_up, returns), blocks, seed),
        "ic_value": _interval(statistics.weighted_ic(value, returns), blocks, seed),
        "hit_rate": _interval(statistics.weighted_mean(hits), blocks[pointed], seed),
        "brier": _interval(statistics.weighted_mean((chance - rises) ** 2), blocks[moved], seed),
        "ece": _interval(statistics.weighted_ece(rises, chance), blocks[moved], seed),
    }


def _interval(statistic: statistics.Statistic, blocks: datasets.Integers, seed: int) -> list[float]:
    return statistics.block_bootstrap(statistic, blocks, seed=seed)


def main() -> None:
    """Print the report of one artefact as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--interval", choices=("1s", "1m"), required=True)
    parser.add_argument("--tz")
    parser.add_argument("--label", choices=("close", "start"), default="close")
    parser.add_argument("--calendar")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--stride", type=int, default=STRIDE)
    parser.add_argument("--allow-seen", action="store_true")
    args = parser.parse_args()
    artefact = runtime.load(f"forecast_{args.interval}", kind="forecast")
    report = evaluate(
        args.data,
        artefact,
        allow_seen=args.allow_seen,
        tz=args.tz,
        label=args.label,
        calendar=args.calendar,
        cache=args.cache,
        stride=args.stride,
    )
    print(json.dumps(report, indent=1))  # noqa: T201 - a command's output


if __name__ == "__main__":
    main()
