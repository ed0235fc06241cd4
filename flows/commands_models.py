"""`nextgen models`: what was trained, on what, and how good it is."""

import json
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
    spans = [span for span in entry.get("seen", ()) if "from_ns" in span]
    if not spans:
        return ", ".join(str(name) for name in entry.get("datasets", ())) or ""
    first, last = min(span["from_ns"] for span in spans), max(span["to_ns"] for span in spans)
    datasets = ", ".join(sorted({span["dataset"] for span in spans}))
    return f"{datasets}, {_day(first)} to {_day(last)}"


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%d")


def _skill(entry: dict[str, Any]) -> str:
    ic = entry.get("skill", {}).get("ic")
    if ic:
        return f"IC {ic[0]:+.4f} ({ic[1]:+.4f} to {ic[2]:+.4f}), n = {entry['skill'].get('n', '?')}"
    figures = [
        f"{name} {value[0]:.3f} ({value[1]:.3f} to {value[2]:.3f})"
        for name, value in entry.get("metrics", {}).items()
        if isinstance(value, list) and len(value) == 3
    ]
    return ", ".join(figures[:2])
