"""`nextgen evaluate`: any leg on any data of the known formats."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from flows.cli import sentence_of
from flows.settings import GroupSettings, load_profile
from models import datasets, runtime
from models.bar_files import Label, read_bars
from models.calendars import ALWAYS_OPEN
from models.finbert import evaluation as of_sentiment
from models.finbert.readers import Readers
from models.finbert.scorer import Scorer
from models.lstm_transformer import evaluation as of_forecast
from models.lstm_transformer.forecaster import Forecaster
from models.ppo import evaluation as of_policy
from operators.errors import InputError

EASTERN = "America/New_York"  # the zone of most bar files without one
MINUTE = 60 * 10**9
_NAMES = {10**9: "1s", MINUTE: "1m"}
_PROFILES = {"1s": "binance", "1m": "equities"}  # whose costs and position rules apply


@dataclass(frozen=True)
class BarOptions:
    """How to read bars; None: find out."""

    interval: str | None = None
    tz: str | None = None
    label: str = "close"
    calendar: str | None = None
    symbols: tuple[str, ...] | None = None
    cache: Path | None = None


def print_evaluation(
    leg: str, data: Path, model: str | None, options: BarOptions, *, allow_seen: bool, as_json: bool
) -> None:
    """Measure `leg` on `data`, and print the metrics as a table or as one JSON object."""
    if not data.exists():
        raise InputError(f"there is nothing at {data}")
    report = measured(leg, data, model, options, allow_seen=allow_seen)
    if as_json:
        print(json.dumps(report))  # noqa: T201 - the output
    else:
        Console().print(report_table(leg, report))


def measured(
    leg: str, data: Path, model: str | None, options: BarOptions, *, allow_seen: bool
) -> dict[str, Any]:
    """Return the metrics of `leg` on `data`.

    Raises:
        InputError: nothing in `data` can be measured.
        SeenData: the model was made from it, and not `allow_seen`.
        models.runtime.ModelError, models.bar_files.BarFileError: as they say.
    """
    try:
        if leg == "sentiment":
            names = (model,) if model else GroupSettings().sentiment
            return _sentiment(data, names, allow_seen=allow_seen)
        return _on_bars(leg, data, model, options, allow_seen=allow_seen)
    except (ValueError, OSError) as error:
        if sentence_of(error) is not None:
            raise
        raise InputError(f"{data} cannot be evaluated: {error}") from error


def _sentiment(data: Path, names: tuple[str, ...], *, allow_seen: bool) -> dict[str, Any]:
    artefacts = [runtime.load(name, kind="sentiment") for name in names]
    readers = Readers(Scorer.load(artefact.entry, artefact.folder) for artefact in artefacts)
    report = of_sentiment.evaluate(of_sentiment.read_csv(data), readers, allow_seen=allow_seen)
    return {**report, "model": "+".join(artefact.identity for artefact in artefacts)}


def _on_bars(
    leg: str, data: Path, model: str | None, options: BarOptions, *, allow_seen: bool
) -> dict[str, Any]:
    frame, interval = _frame(data, options)
    name = model or f"{leg}_{_NAMES[interval]}"
    artefact = runtime.load(name, kind=leg, interval=interval)
    if leg == "forecast":
        report = of_forecast.evaluate(
            frame,
            artefact,
            allow_seen=allow_seen,
            calendar=options.calendar,
            cache=options.cache,
        )
    else:
        report = _policy(frame, artefact, interval, options, allow_seen=allow_seen)
    return {**report, "model": artefact.identity}


def _policy(
    frame: pl.DataFrame,
    artefact: runtime.Artefact,
    interval: int,
    options: BarOptions,
    *,
    allow_seen: bool,
) -> dict[str, Any]:
    bars = datasets.from_frame(
        frame,
        interval_ns=interval,
        calendar=options.calendar or of_forecast.calendar_of(frame, interval),
        cache=options.cache,
    )
    rules = load_profile(_PROFILES[_NAMES[interval]]).policy
    # What the policy must beat: the forecast of the same interval, without a policy.
    beside = runtime.load(f"forecast_{_NAMES[interval]}", kind="forecast", interval=interval)
    return of_policy.evaluate(
        bars, artefact, rules, allow_seen=allow_seen, forecaster=Forecaster(beside)
    )


def _frame(data: Path, options: BarOptions) -> tuple[pl.DataFrame, int]:
    """Read the bars, and say their interval in ns."""
    given = {name: interval for interval, name in _NAMES.items()}
    if options.interval is not None and options.interval not in given:
        raise InputError(f"expected --interval 1s or 1m, found '{options.interval}'")
    wanted = None if options.interval is None else given[options.interval]
    label: Label = "start" if options.label == "start" else "close"
    frame = read_bars(data, tz=options.tz or EASTERN, label=label, interval=wanted)
    if options.tz is None and not frame.is_empty():
        # Bars at all hours are no exchange's: their naive times are UTC, as replays read them.
        always = of_forecast.calendar_of(frame, wanted or _interval_of(frame)) == ALWAYS_OPEN
        if options.calendar == ALWAYS_OPEN or (options.calendar is None and always):
            frame = read_bars(data, tz="UTC", label=label, interval=wanted)
    if options.symbols is not None:
        frame = frame.filter(pl.col("symbol").is_in(options.symbols))
    if frame.is_empty():
        raise InputError(f"{data} holds no bars" + (" of these symbols" * bool(options.symbols)))
    interval = wanted or _interval_of(frame)
    if interval not in _NAMES:
        raise InputError(
            f"{data} holds bars of {interval / 1e9:g} s; there are models for 1s and 1m bars "
            "(--interval says which they are)"
        )
    return frame, interval


def _interval_of(frame: pl.DataFrame) -> int:
    """Return the commonest step between bar closes; where that is odd, what divides all steps."""
    steps = frame["ts_close"].unique().sort().diff().drop_nulls()
    if steps.is_empty():
        raise InputError("a single bar has no interval; say it with --interval")
    common = int(steps.mode().to_numpy().min())
    return common if common in _NAMES else int(np.gcd.reduce(steps.to_numpy()))


def report_table(leg: str, report: dict[str, Any]) -> Table:
    """Return metrics with their 95 % intervals, the model's first, then each baseline's."""
    counted = ", ".join(
        f"{name} {value}"
        for name, value in report.items()
        if name in {"n", "symbols", "blocks", "abstained", "seen"}
    )
    title = f"{leg}, {report.get('model', 'model')}: {counted}"
    table = Table(box=None, padding=(0, 1, 0, 0), title=title, title_justify="left")
    table.add_column("metric", no_wrap=True)
    columns = {"model": report, **report.get("baselines", {})}
    for name in columns:
        table.add_column(name, justify="right")
    for metric, value in report.items():
        if metric in {"n", "symbols", "blocks", "abstained", "seen", "from_ns", "to_ns"}:
            continue
        if isinstance(value, list | int | float):
            table.add_row(metric, *(_figure(each.get(metric)) for each in columns.values()))
    return table


def _figure(value: Any) -> str:
    """Return one figure, with its interval behind it where it has one.

    >>> _figure([0.5, 0.45, 0.55]), _figure(1234), _figure(None)
    ('0.500 [0.450, 0.550]', '1,234', '')
    """
    if value is None:
        return ""
    if isinstance(value, list):
        estimate, low, high = (_figure(float(each)) for each in value)
        return estimate if low == high else f"{estimate} [{low}, {high}]"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if abs(value) < 10.0 else f"{value:,.1f}"
