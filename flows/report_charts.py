"""The evaluation report's charts as SVG, the same bytes for the same figures."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from models.features import Floats

mpl.rcParams["svg.hashsalt"] = "report"  # ids of shapes come from it, not from chance
mpl.rcParams["svg.fonttype"] = "none"  # text stays text
WIDTH, HEIGHT = 6.4, 3.2  # inches


def reliability(bins: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Draw how often prices rose against the chance given, a line for each model."""
    figure, axes = _axes("P(up) given", "share that rose")
    for name, found in bins.items():
        chances = [each["chance"] for each in found]
        axes.plot(chances, [each["rose"] for each in found], "o-", markersize=3, label=name)
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="grey", linewidth=0.8, label="perfect")
    axes.legend(fontsize=8)
    return _svg(figure)


def curves(lines: Mapping[str, tuple[Floats, Floats]], ylabel: str) -> str:
    """Draw lines over time; times are UNIX ns."""
    figure, axes = _axes("", ylabel)
    for name, (times, values) in lines.items():
        axes.plot(times.astype("datetime64[ns]"), values, linewidth=1.0, label=name)
    axes.legend(fontsize=8)
    figure.autofmt_xdate()
    return _svg(figure)


def bars(values: Mapping[str, float], ylabel: str) -> str:
    """Draw one bar for each name."""
    figure, axes = _axes("", ylabel)
    axes.bar(list(values), list(values.values()), width=0.7)
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.tick_params(axis="x", rotation=60, labelsize=7)
    return _svg(figure)


def histogram(values: Sequence[float], xlabel: str) -> str:
    """Draw how values are spread."""
    figure, axes = _axes(xlabel, "count")
    axes.hist(list(values), bins=30)
    return _svg(figure)


def _axes(xlabel: str, ylabel: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
