"""`nextgen gaps`: what the feeds lost, what was fetched afterwards, and what is missing."""

from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.sinks.store import open_store
from flows.ledger import Entry, ledger, lost_share, totals
from flows.reports import loss_lines
from flows.terminal import moment, printable
from operators.errors import InputError
from operators.messages import SECOND, HoleState

SHOWN = 50  # lines for people; the JSON object has all

_STYLES = {
    HoleState.OPEN: "bold red",
    HoleState.ENDED: "yellow",
    HoleState.FILLED: "green",
    HoleState.UNFILLED: "red",
    HoleState.COVERED: "cyan",
}


def print_gaps(
    path: Path, symbol: str | None = None, state: str | None = None, *, as_json: bool = False
) -> None:
    """Print the gap ledger of a store, of one symbol or in one state if told.

    Raises:
        InputError: there is no such state.
        StoreError: the store cannot be read.
    """
    wanted = None if state is None else _state(state)
    with closing(open_store(path, readonly=True)) as store:
        entries = ledger(store, symbol, wanted)
        whole = totals(store)
        symbols = {name: share.told() for name, share in lost_share(store)[1].items()}
    if as_json:
        made = {"entries": entries, "symbols": symbols, **whole}
        print(msgspec.json.encode(made).decode())  # noqa: T201 - the output
    else:
        Console().print(gaps_view(entries, whole))


def _state(name: str) -> HoleState:
    try:
        return HoleState(name.lower())
    except ValueError:
        raise InputError(f"expected a state of {', '.join(HoleState)}, found '{name}'") from None


def gaps_view(entries: list[Entry], whole: dict[str, Any]) -> RenderableType:
    """Return the ledger's last lines and its totals; fits into 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("from", no_wrap=True)
    table.add_column("symbol", no_wrap=True, max_width=10)
    table.add_column("feed", no_wrap=True, max_width=10)
    table.add_column("cause", no_wrap=True, max_width=8)
    for name in ("seconds", "came", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for entry in entries[-SHOWN:]:
        table.add_row(
            moment(entry.ts_from)[5:19],
            Text(printable(entry.symbol)),
            Text(printable(entry.feed)),
            Text(printable(entry.cause)),
            "" if entry.ts_to is None else f"{(entry.ts_to - entry.ts_from) / SECOND:,.1f}",
            f"{entry.trades:,}",
            "?" if entry.missing is None else f"{entry.missing:,}",
            Text(entry.state, style=_STYLES[entry.state]),
        )
    parts: list[RenderableType] = [table] if entries else [Text("no hole and no gap")]
    if len(entries) > SHOWN:
        earlier = f"{len(entries) - SHOWN:,} earlier ones: --json"
        parts.append(Text(earlier, style="dim"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for name, text in loss_lines(whole):
        grid.add_row(name, text)
    return Group(*parts, Text(), grid)
