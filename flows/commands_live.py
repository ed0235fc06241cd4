"""`nextgen run` and `nextgen record`: live feeds through the engine, or onto disk."""

import json
from contextlib import closing, nullcontext
from pathlib import Path

import msgspec
from rich.console import Console

from connectors.sinks.store import open_store
from flows.board import Board
from flows.feeds import at_exchange, live_profile
from flows.live import Request, record, run_live
from flows.reports import print_summary
from flows.services_file import services_at
from flows.settings import for_own_log, live_tables, load_profile
from flows.summary import summarise
from flows.terminal import View
from operators.errors import SettingsError


def request_for(
    profile: str,
    *,
    symbols: tuple[str, ...] | None = None,
    exchange: str | None = None,
    ca: Path | None = None,
    record_to: Path | None = None,
    seconds: float | None = None,
    speed: float = 1.0,
    metrics_port: int | None = None,
    warm: Path | None = None,
) -> Request:
    """Read a profile for a live run; `exchange` is a venue's base URL to use for every feed.

    Raises:
        SettingsError: the profile names no universe or no feed, or is wrong in itself.
    """
    settings = for_own_log(load_profile(profile, symbols=symbols))
    if not settings.symbols or settings.symbols == ("all",):
        raise SettingsError("a live run needs symbols: name them by --symbols A,B")
    path, tables = live_tables(profile)
    live = live_profile(tables, path)
    if exchange is not None:
        live = at_exchange(live, exchange)
        if live.clock == "machine":  # such a venue may run in a time of its own
            live = msgspec.structs.replace(live, clock="venue")
    if speed != 1.0 and live.clock == "machine":
        raise SettingsError("--speed needs a profile whose clock is not this machine's")
    return Request(settings, live, ca, record_to, seconds, speed, metrics_port, warm)


def run_command(
    request: Request,
    store: Path,
    *,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    services: Path | None = None,
) -> None:
    """Run live, and print the summary when it is stopped."""
    console = Console(stderr=as_json)
    board = Board()
    title = f"nextgen run, {request.settings.profile}"
    with nullcontext() if quiet else View(board, console, title):
        run_live(
            request,
            store,
            board=None if quiet else board,
            overwrite=overwrite,
            services=services_at(services),
        )
    with closing(open_store(store, readonly=True)) as rows:
        summary = summarise(rows)
    if as_json:
        print(json.dumps(summary))  # noqa: T201 - the output
        return
    print_summary(summary, console)


def record_command(request: Request, folder: Path, *, as_json: bool) -> None:
    """Record, and say how much."""
    entries = record(request, folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "entries": entries}))  # noqa: T201 - the output
    else:
        Console().print(f"{folder} holds {entries:,} entries; nextgen replay reads it")
