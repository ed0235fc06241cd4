"""`nextgen demo` and `nextgen replay`: run the engine, watch it, and sum it up."""

import gzip
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from rich.console import Console

from connectors.sinks.store import open_store
from connectors.sources.stopping import install_stop_signals
from flows.board import Board
from flows.engine import run_replay
from flows.reports import print_summary
from flows.services_file import services_at
from flows.settings import Settings, demo_inputs, load_profile
from flows.summary import summarise
from flows.terminal import View
from models.schema import HISTORY
from operators.errors import InputError
from operators.messages import SECOND

HEADLINE_EVERY = 15 * SECOND  # of the recording, between two headlines of a person's own


@dataclass(frozen=True)
class Request:
    """What to replay, and how."""

    paths: tuple[Path, ...]
    profile: str
    store: Path
    headlines: tuple[Path, ...] = ()
    symbols: tuple[str, ...] | None = None
    speed: float | None = None  # times real time; None: as fast as possible
    workers: int = 1
    dead_letters: Path | None = None
    overwrite: bool = False
    fast_until: int | None = None  # receive time up to which no time is kept
    services: Path | None = None  # a file that says where further stores are


def run_replay_command(request: Request, *, quiet: bool, as_json: bool) -> None:
    """Replay, and print the summary."""
    settings = load_profile(request.profile, symbols=request.symbols)
    _run(request, settings, f"nextgen replay, {request.profile}", quiet=quiet, as_json=as_json)


def run_demo(
    speed: float | None, headlines: Sequence[str], store: Path, *, quiet: bool, as_json: bool
) -> None:
    """Replay the shipped recording: at once through the warm-up, then at `speed`."""
    settings = load_profile("demo")
    paths = tuple(demo_inputs(settings))
    begin = first_receive_time(paths[0])
    warm = begin + (HISTORY + 2) * settings.group.interval_ns
    request = Request(
        paths=paths,
        profile="demo",
        store=store,
        headlines=own_headlines(headlines, warm, store),
        speed=speed,
        overwrite=True,
        fast_until=warm,
    )
    _run(request, settings, "nextgen demo", quiet=quiet, as_json=as_json)


def run_demo_served(
    speed: float | None, headlines: Sequence[str], store: Path, *, quiet: bool, as_json: bool
) -> None:
    """Run the demo with API and dashboard beside it; at a terminal they stay until Ctrl-C."""
    # They cost a second of imports, and only then.
    from flows.commands_api import api_beside  # noqa: PLC0415

    console = Console(stderr=as_json)
    signal.signal(signal.SIGTERM, _leave)  # so that the API ends, too, whenever it comes
    with api_beside(store) as address:
        console.print(f"dashboard: {address}", style="bold", soft_wrap=True)
        run_demo(speed, headlines, store, quiet=quiet, as_json=as_json)
        if sys.stdin.isatty() and not as_json:
            console.print(f"the dashboard stays at {address}; Ctrl-C ends it", soft_wrap=True)
            ended = Event()
            install_stop_signals(ended)
            ended.wait()


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _run(request: Request, settings: Settings, title: str, *, quiet: bool, as_json: bool) -> None:
    # With --json standard output is the object's alone.
    console = Console(stderr=as_json)
    board = Board()
    view = nullcontext() if quiet else View(board, console, title)
    with view:
        run_replay(
            settings,
            request.paths,
            request.store,
            headlines=request.headlines,
            speed=request.speed,
            workers=request.workers,
            board=None if quiet else board,
            fast_until=request.fast_until,
            dead_letters=request.dead_letters,
            overwrite=request.overwrite,
            services=services_at(request.services),
        )
    with closing(open_store(request.store, readonly=True)) as store:
        summary = summarise(store)
    if as_json:
        print(json.dumps(summary))  # noqa: T201 - the output
        return
    print_summary(summary, console)
    console.print(_next_steps(request, summary), style="dim", soft_wrap=True)


def _next_steps(request: Request, summary: dict[str, Any]) -> str:
    """Say what a person may want to do now."""
    if not summary["finished"] and not request.overwrite:
        return "stopped; the same command goes on where it was"
    with closing(open_store(request.store, readonly=True)) as store:
        row = store.execute(
            "SELECT signal_id FROM signals ORDER BY action = 'HOLD', abs(score) DESC LIMIT 1"
        ).fetchone()
    if row is None:
        return f"no signal: a symbol gives its first after {HISTORY} bars"
    return f"why a signal was given: nextgen explain {request.store} {row['signal_id'][:12]}"


def first_receive_time(path: Path) -> int:
    """Return the receive time that a recording's first line begins with.

    Raises:
        InputError: it is absent or does not begin so.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            return int(file.readline(4096).split(b" ", 1)[0])
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} is no recording that can be read: {error}") from error


def own_headlines(texts: Sequence[str], begin: int, store: Path) -> tuple[Path, ...]:
    """Write a person's own headlines to a file beside the store; return it, or nothing.

    The first becomes known at `begin`, each further one 15 s later.
    """
    if not texts:
        return ()
    path = store.with_suffix(".headlines.jsonl")
    lines = (
        {
            "id": f"own-{number}",
            "source": "you",
            "text": text,
            "available_at": begin + number * HEADLINE_EVERY,
        }
        for number, text in enumerate(texts)
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}") from error
    return (path,)
