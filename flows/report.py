"""`make report`: one page of what all models and the fused signal are worth, and how that is known.

    python -m flows.report --data DIR --cache DIR --out docs

Writes evaluation.html, evaluation.md and evaluation.json (every figure, to nine digits).
"""

import argparse
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from flows import fused_study, report_charts
from flows.settings import load_profile
from models import runtime
from models.bar_files import read_bars
from models.datasets import SymbolBars
from models.lstm_transformer import evaluation as forecast_evaluation
from models.lstm_transformer import study as forecast_study
from models.lstm_transformer.forecaster import Forecaster
from models.lstm_transformer.samples import HORIZONS, SOURCES, Source, assemble, nanoseconds
from models.ppo import evaluation as policy_evaluation
from models.ppo import splits as policy_splits
from models.schema import WINDOW

INTERVALS = ("1m", "1s")
LONGEST = 1_800  # bars of an episode, which nothing here depends on
FUSED_SYMBOLS = 60  # of the alphabet: three runs of the whole engine
PROFILES = {"1s": "binance", "1m": "equities"}

BarsOfSources = Mapping[str, dict[str, SymbolBars]]  # by source, by symbol


class Page:
    """A report in parts, written as HTML and as Markdown."""

    def __init__(self, title: str) -> None:
        self.markdown = [f"# {title}\n"]
        self.body = [f"<h1>{html.escape(title)}</h1>"]

    def heading(self, text: str, level: int = 2) -> None:
        """Add a heading."""
        self.markdown.append(f"\n{'#' * level} {text}\n")
        self.body.append(f"<h{level}>{html.escape(text)}</h{level}>")

    def text(self, words: str) -> None:
        """Add a paragraph."""
        self.markdown.append(f"{words}\n")
        self.body.append(f"<p>{html.escape(words)}</p>")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add a table; an interval is a list of three numbers."""
        cells = [[shown(cell) for cell in row] for row in rows]
        self.markdown.append(
            "\n".join(f"| {' | '.join(row)} |" for row in (list(head), ["---"] * len(head), *cells))
            + "\n"
        )
        made = "".join(f"<th>{html.escape(name)}</th>" for name in head)
        lines = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in cells
        )
        self.body.append(f"<table><thead><tr>{made}</tr></thead><tbody>{lines}</tbody></table>")

    def chart(self, svg: str, words: str) -> None:
        """Add a chart with what it shows; in Markdown the words only."""
        self.body.append(f"<figure>{svg}<figcaption>{html.escape(words)}</figcaption></figure>")
        self.markdown.append(f"*{words} (chart: evaluation.html)*\n")

    def write(self, folder: Path, name: str) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text("\n".join(self.markdown), encoding="utf-8")
        (folder / f"{name}.html").write_text(
            f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation</title>"
            f"<style>{_STYLE}</style>{''.join(self.body)}</html>\n",
            encoding="utf-8",
        )


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .7em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "figure{margin:1em 0}figcaption{color:#555;font-size:.9em}svg{max-width:100%;height:auto}"
)


def shown(cell: Any) -> str:
    """Return a cell as text.

    >>> shown([0.5251, 0.5047, 0.5481]), shown(12345), shown(0.25)
    ('0.525 [0.505, 0.548]', '12,345', '0.250')
    """
    if isinstance(cell, list | tuple):
        estimate, low, high = cell
        return f"{estimate:.3f} [{low:.3f}, {high:.3f}]"
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def measured(data: Path, cache: Path | None, folder: Path = runtime.ONNX) -> dict[str, Any]:
    """Return every figure of the report."""
    found: dict[str, Any] = {}
    for interval in INTERVALS:
        bars = policy_splits.assemble(interval, data, cache, longest=LONGEST).bars
        found[f"forecast_{interval}"] = _forecast(interval, data, cache, bars, folder)
        found[f"policy_{interval}"] = _policy(interval, bars, folder)
    found["fused_1m"] = fused_study.study(
        load_profile("equities"), _test_bars(SOURCES["1m"][0], data, FUSED_SYMBOLS)
    )
    found["sentiment"] = {
        name: entry["metrics"]
        for name, entry in sorted(runtime.read_manifest(folder).items())
        if entry["kind"] == "sentiment"
    }
    return found


def _forecast(
    interval: str, data: Path, cache: Path | None, bars: BarsOfSources, folder: Path
) -> dict[str, Any]:
    found = forecast_study.study(interval, assemble(interval, data, cache), folder)
    artefact = runtime.load(f"forecast_{interval}", kind="forecast", folder=folder)
    found["delayed"] = {
        source.name: forecast_study.delayed(
            bars[source.name], artefact, nanoseconds(source.cuts[-1])
        )
        for source in SOURCES[interval]
    }
    found["evaluate"] = {
        source.name: forecast_evaluation.evaluate(
            _test_bars(source, data), artefact, calendar=source.calendar, cache=cache
        )
        for source in SOURCES[interval]
    }
    return found


def _policy(interval: str, bars: BarsOfSources, folder: Path) -> dict[str, Any]:
    artefact = runtime.load(f"policy_{interval}", kind="policy", folder=folder)
    forecast = runtime.load(f"forecast_{interval}", kind="forecast", folder=folder)
    return {
        source.name: policy_evaluation.evaluate(
            bars[source.name],
            artefact,
            load_profile(PROFILES[interval]).policy,
            allow_seen=False,
            forecaster=Forecaster(forecast),
            after=nanoseconds(source.cuts[-1]),
            skip=WINDOW + HORIZONS[interval],
        )
        for source in SOURCES[interval]
    }


def _test_bars(source: Source, data: Path, symbols: int | None = None) -> pl.DataFrame:
    """Return the bars of the test split, of all symbols that serve or the first of them."""
    frame = read_bars(data / source.path, tz=source.tz, label=source.label)
    some = frame["symbol"].unique().sort().head(symbols or source.first_symbols or frame.height)
    begin = nanoseconds(source.cuts[-1])
    return frame.filter(
        pl.col("symbol").is_in(some.to_list())
        & (pl.col("ts_close") > begin)
        & (pl.col("ts_close") <= nanoseconds(source.until))
    )


def page_of(found: Mapping[str, Any]) -> Page:
    """Return the page that shows the figures."""
    page = Page("Evaluation of the shipped models")
    page.text(
        "Written by `make report` from data that no model was fitted or tuned on. Brackets are "
        "95 % intervals by bootstrap: over whole days, or hours where it says so; for texts, over "
        "rows. Nothing here says what the models earn next."
    )
    for interval in INTERVALS:
        _show_forecast(page, interval, found[f"forecast_{interval}"])
        _show_policy(page, interval, found[f"policy_{interval}"])
    _show_fused(page, found["fused_1m"])
    _show_sentiment(page, found["sentiment"])
    return page


def _show_forecast(page: Page, interval: str, found: Mapping[str, Any]) -> None:
    page.heading(f"Forecast, {interval} bars")
    page.text(
        f"{found['model']}: {found['n']:,} rows of the test split, {found['unmoved']:,} of them "
        f"with a return of exactly zero, which count for the IC alone; {found['abstained']:,} "
        f"abstained. {found['blocks']['day']} days, {found['blocks']['hour']} hours."
    )
    page.table(
        ("scores", "blocks", "AUC", "IC", "IC without the market"),
        [
            (name, kind, of["auc"], of["ic"], of["neutral_ic"])
            for name, kinds in found["metrics"].items()
            for kind, of in kinds.items()
        ],
    )
    page.table(
        ("model less logistic regression", "AUC", "IC", "IC without the market"),
        [
            (f"drawn by {kind}", of["auc"], of["ic"], of["neutral_ic"])
            for kind, of in found["better_than_logistic"].items()
        ],
    )
    page.text(
        f"Calibration error (15 bins of equal count) {shown(found['ece'])}, Brier "
        f"{found['brier']:.4f}; {found['coverage']['below_low']:.1%} of returns fall below the .1 "
        f"quantile, {found['coverage']['above_high']:.1%} above the .9 quantile. A regression "
        f"fitted on shuffled labels has AUC {shown(found['shuffled_labels'])}: it should be a half."
    )
    page.text(
        "As `nextgen evaluate forecast` measures the bars of the test split, without those before "
        "it: rows that the model abstains from are left out."
    )
    page.table(
        ("data", "rows", "AUC", "IC", "IC of the leg's value", "hit rate", "calibration error"),
        [
            (name, of["n"], of["auc"], of["ic"], of["ic_value"], of["hit_rate"], of["ece"])
            for name, of in found["evaluate"].items()
        ],
    )
    page.chart(report_charts.reliability({"model": found["reliability"]}), "Reliability of P(up)")
    page.table(
        (
            "IC with a return that begins later",
            *(f"{delay} bars" for delay in forecast_study.DELAYS),
        ),
        [(name, *of.values()) for name, of in found["delayed"].items()],
    )
    page.chart(
        report_charts.bars({each["day"]: each["ic"] for each in found["by_day"]}, "IC"), "IC by day"
    )
    page.chart(
        report_charts.histogram([of["auc"] for of in found["by_symbol"].values()], "AUC"),
        "AUC by symbol",
    )
    page.table(
        ("drift from fit to test, largest of 44 features", "stability index"),
        list(found["drift"].items())[:8],
    )


def _show_policy(page: Page, interval: str, found: Mapping[str, Any]) -> None:
    page.heading(f"Policy, {interval} bars")
    for source, of in found.items():
        page.text(
            f"{source}: {of['n']:,} bars acted on, {of['span']}, {of['blocks']['count']} "
            f"{of['blocks']['kind']}s drawn. IC of the leg's value {shown(of['ic'])}; "
            f"{of['in_market']:.0%} of bars in the market."
        )
        rows = {"policy": of, **of["baselines"]}
        page.table(
            ("after costs", "total return", "Sharpe", "turnover a day", "largest drawdown"),
            [
                (name, each["return"], each["sharpe"], each["turnover"], each["max_drawdown"])
                for name, each in rows.items()
            ],
        )


def _show_fused(page: Page, found: Mapping[str, Any]) -> None:
    page.heading("Fused signal, 1m bars")
    page.text(
        f"The engine over the test sessions of {FUSED_SYMBOLS} symbols: {found['n']:,} outcomes, "
        f"drawn by {found['blocks']['kind']} ({found['blocks']['count']}). Weights in effect: "
        + ", ".join(f"{name} {weight:.2f}" for name, weight in found["effective_weights"].items())
        + ". They start from 40, 40 and 20 % and follow each leg's certainty and proven skill: a "
        "leg that has shown less, or is not sure now, gives its share to the others. There is no "
        "news for these sessions, so sentiment is silent."
    )
    page.table(("IC of", "with the return at the horizon"), list(found["ic"].items()))
    runs = {"fused": found, **found["alone"]}
    page.table(
        ("paper portfolio, after costs", "return", "Sharpe of days", "approved signals"),
        [
            (name, of["net"]["return"], of["net"]["sharpe"], of["approved"])
            for name, of in runs.items()
        ],
    )
    page.table(("fused less", "basis points a day"), list(found["better"].items()))
    page.chart(
        report_charts.curves(
            {name: _worth(of["net"]["by_day"]) for name, of in runs.items()}, "worth of 1"
        ),
        "Paper portfolio after costs, by day",
    )


def _worth(by_day: Mapping[str, float]) -> tuple[np.ndarray, np.ndarray]:
    days = np.array(list(by_day), "datetime64[ns]").astype(np.int64)
    return days, np.cumprod(1.0 + np.array(list(by_day.values())))


def _show_sentiment(page: Page, found: Mapping[str, Any]) -> None:
    page.heading("Sentiment")
    page.table(
        ("model, set", "rows", "accuracy", "macro-F1", "sign accuracy", "calibration error"),
        [
            (
                f"{name}, {label}",
                of["n"],
                of["int8"]["accuracy"],
                of["int8"]["macro_f1"],
                of["int8"].get("sign_accuracy", ""),
                of["int8"]["ece"],
            )
            for name, sets in found.items()
            for label, of in sets.items()
        ],
    )


def main() -> None:
    """Measure everything, or show again what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="the data folder; without it, show again")
    parser.add_argument("--cache", type=Path, help="where computed features are kept")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    chosen = parser.parse_args()
    figures = chosen.out / "evaluation.json"
    if chosen.data:
        chosen.out.mkdir(parents=True, exist_ok=True)
        found = measured(chosen.data, chosen.cache)
        figures.write_text(json.dumps(found, indent=1, default=float) + "\n", encoding="utf-8")
    page_of(json.loads(figures.read_text(encoding="utf-8"))).write(chosen.out, "evaluation")


if __name__ == "__main__":
    main()
