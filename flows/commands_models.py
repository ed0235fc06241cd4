"""`nextgen models`: what was trained, on what, and how good it is."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from models import runtime


def print_models(*, as_json: bool) -> None:
    """Print the manifest: what there is, of which data, and how good it is."""
    manifest = runtime.read_manifest()
    if as_json:
        print(json.dumps(manifest))  # noqa: T201 - the output
        return
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("model", "hash", "bars", "trained on", "measured out of sample"):
        table.add_column(name)
    for name, entry in sorted(manifest.items()):
        interval = entry.get("interval_ns")
        table.add_row(
            name,
            str(entry.get("sha256", ""))[:12],
            f"{interval // 10**9} s" if interval else "",
            _seen(entry),
            _skill(entry),
        )
    Console().print(table)


def _seen(entry: dict[str, Any]) -> str:
    """Name the data a model was made from, with its span where it has one."""
    spans = [span for span in entry.get("seen", ()) if "from_ns" in span]
    if not spans:
        datasets = entry.get("trained_on", {})
        return ", ".join(name for name, each in datasets.items() if isinstance(each, dict))
    first, last = min(span["from_ns"] for span in spans), max(span["to_ns"] for span in spans)
    named = ", ".join(sorted({span["dataset"] for span in spans}))
    return f"{named}, {_day(first)} to {_day(last)}"


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%d")


def _skill(entry: dict[str, Any]) -> str:
    """Return the main metric with its 95 % interval: the leg's IC, else accuracies."""
    skill = entry.get("skill", {})
    if ic := skill.get("ic"):
        return f"IC {_interval(ic)}, n = {skill.get('n', '?')}"
    figures = [
        f"{name} {_interval(value)}"
        for name, value in _metrics(entry.get("metrics", {}), "")
        if name.endswith(("accuracy", "macro_f1"))
    ]
    return ", ".join(figures)


_OTHERS = frozenset({"fp32", "baselines", "better_than", "by_lang"})


def _metrics(found: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield what the model that is served measured, by path; without those it is compared to."""
    for name, value in found.items():
        if isinstance(value, list) and len(value) == 3:
            yield f"{path}{name}", value
        elif isinstance(value, dict) and name not in _OTHERS:
            yield from _metrics(value, path if name == "int8" else f"{path}{name} ")


def _interval(value: list[float]) -> str:
    return f"{value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"
