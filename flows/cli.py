"""The `nextgen` command. Everything heavy is imported when its command runs.

Exit codes: 0 done, 1 a check failed (`explain` differs, `doctor` found something), 2 it could
not be done (one sentence on standard error says why), 130 interrupted.
"""

# ruff: noqa: PLC0415 - so that help and errors of usage come at once

import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flows.cli_alerts import app as alerts_app
from flows.cli_api import app as api_app
from flows.cli_scale import ServicesFile
from flows.cli_scale import app as scale_app
from flows.cli_secrets import app as secrets_app
from operators.errors import EngineError

# Errors that are sentences for people, by the module that defines them. A module that was
# not imported has raised nothing.
_SENTENCES = (
    ("models.runtime", "ModelError"),
    ("models.bar_files", "BarFileError"),
    ("models.seen", "SeenData"),
    ("models.finbert.evaluation", "SeenData"),
)


class _Commands(TyperGroup):
    """Turn what can go wrong in use into one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            typer.echo(f"nextgen: {sentence}", err=True)
            raise typer.Exit(2) from error


def sentence_of(error: BaseException) -> str | None:
    """Return the sentence of an expected error, also one that Bytewax wrapped, else None."""
    expected = (
        EngineError,
        *(getattr(sys.modules[name], kind) for name, kind in _SENTENCES if name in sys.modules),
    )
    for each in _chain(error):
        if isinstance(each, expected):
            return str(each)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        yield current
        seen.add(id(current))
        current = current.__cause__


class Leg(StrEnum):
    """What can be evaluated."""

    FORECAST = "forecast"
    POLICY = "policy"
    SENTIMENT = "sentiment"


class BarLabel(StrEnum):
    """What a bar's time says."""

    CLOSE = "close"
    START = "start"


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Real-time AI trading engine: ticks in, risk-checked and explained signals out.",
)

app.add_typer(scale_app)  # its commands are commands of ours
app.add_typer(alerts_app, name="alerts")
app.add_typer(api_app, name="api")
app.add_typer(secrets_app, name="secrets")

Store = Annotated[Path, typer.Argument(metavar="STORE", help="A file made by run, replay or demo.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No live view.")]


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < float("inf"):
        raise typer.BadParameter(f"expected 'max' or a number above 0, found '{text}'")
    return speed


def _symbols(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    symbols = tuple(part.strip() for part in text.split(",") if part.strip())
    if not symbols:
        raise typer.BadParameter("expected symbols as in BTCUSDT,ETHUSDT, or all")
    return symbols


@app.command()
def demo(
    speed: Annotated[
        str, typer.Option(help="Times real time after the warm-up, or max.", metavar="max|N")
    ] = "10",
    headline: Annotated[
        list[str] | None, typer.Option(help="Throw in a headline of your own; may be repeated.")
    ] = None,
    store: Annotated[Path, typer.Option(help="Where to keep the run; replaced.")] = Path(
        "runs/demo.sqlite"
    ),
    serve: Annotated[
        bool, typer.Option(help="Serve API and dashboard beside it, until Ctrl-C.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Replay the shipped recording through the whole engine, live on the screen."""
    from flows.commands_run import run_demo, run_demo_served

    run = run_demo_served if serve else run_demo
    run(_speed(speed), tuple(headline or ()), store, quiet=quiet, as_json=as_json)


@app.command()
def replay(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Recordings or bars.")],
    profile: Annotated[str, typer.Option(help="A shipped profile, or a path to a .toml file.")],
    store: Annotated[Path, typer.Option(help="Where to keep the run; resumed if it stopped.")],
    speed: Annotated[
        str, typer.Option(help="As fast as possible, or times real time.", metavar="max|N")
    ] = "max",
    symbols: Annotated[
        str | None,
        typer.Option(help="The universe; all: every symbol found in it.", metavar="A,B|all"),
    ] = None,
    headlines: Annotated[
        list[Path] | None, typer.Option(help="Headlines as JSON lines; may be repeated.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Bytewax workers.")] = 1,
    dead_letters: Annotated[
        Path | None, typer.Option(help="Write rejected input to this file, too.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace whatever run the store holds.")] = False,
    services: ServicesFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Replay recorded ticks, bars and headlines; a stopped run goes on where it was."""
    from flows.commands_run import Request, run_replay_command

    request = Request(
        paths=tuple(paths),
        headlines=tuple(headlines or ()),
        profile=profile,
        symbols=_symbols(symbols),
        store=store,
        speed=_speed(speed),
        workers=workers,
        dead_letters=dead_letters,
        overwrite=overwrite,
        services=services,
    )
    run_replay_command(request, quiet=quiet, as_json=as_json)


Exchange = Annotated[
    str | None, typer.Option(help="Use the venue at this URL for every feed.", metavar="URL")
]
Authority = Annotated[
    Path | None, typer.Option("--ca", help="Trust this certificate authority, too.")
]
LiveProfile = Annotated[str, typer.Option(help="binance, yahoo, tokyo, multi, or a .toml file.")]
Seconds = Annotated[float | None, typer.Option(min=0.0, help="Stop after so long.")]
ClockSpeed = Annotated[float, typer.Option(min=0.1, help="Of a venue's or session's clock.")]
MetricsPort = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics on 127.0.0.1.")
]
Universe = Annotated[
    str | None, typer.Option(help="The universe, in the profile's place.", metavar="A,B")
]


@app.command()
def run(
    profile: Annotated[
        str | None, typer.Option(help="binance, yahoo, tokyo, multi, or a .toml file.")
    ] = None,
    shards: Annotated[
        str | None, typer.Option(help="Only these shards of a log in Kafka.", metavar="0-3,6")
    ] = None,
    services: ServicesFile = None,
    store: Annotated[
        Path, typer.Option(help="Where to keep the run; resumed if it stopped.")
    ] = Path("runs/live.sqlite"),
    symbols: Universe = None,
    exchange: Exchange = None,
    ca: Authority = None,
    record: Annotated[
        Path | None, typer.Option(help="Record the input to this folder, too.")
    ] = None,
    seconds: Seconds = None,
    speed: ClockSpeed = 1.0,
    metrics_port: MetricsPort = None,
    warm: Annotated[
        Path | None, typer.Option(help="Begin with the last bars of this store: no warm-up.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace whatever run the store holds.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run the engine on live feeds until stopped; a stopped run goes on where it was.

    With --shards it reads a log in Kafka, that ingest writes, up to fused scores.
    """
    if shards is not None:
        from flows.scale import run_shards
        from flows.services import load_services

        run_shards(load_services(services), shards)
        return
    if profile is None:
        raise typer.BadParameter("name a live profile by --profile, or shards by --shards")
    from flows.commands_live import request_for, run_command

    request = request_for(
        profile,
        symbols=_symbols(symbols),
        exchange=exchange,
        ca=ca,
        record_to=record,
        seconds=seconds,
        speed=speed,
        metrics_port=metrics_port,
        warm=warm,
    )
    run_command(
        request,
        store,
        overwrite=overwrite,
        quiet=quiet,
        as_json=as_json,
        services=services,
    )


@app.command()
def record(
    folder: Annotated[Path, typer.Argument(help="Where to write the recording; goes on with it.")],
    profile: LiveProfile,
    symbols: Universe = None,
    exchange: Exchange = None,
    ca: Authority = None,
    seconds: Seconds = None,
    speed: ClockSpeed = 1.0,
    metrics_port: MetricsPort = None,
    as_json: Json = False,
) -> None:
    """Record what live feeds bring, in the format that replay reads; no model runs."""
    from flows.commands_live import record_command, request_for

    request = request_for(
        profile,
        symbols=_symbols(symbols),
        exchange=exchange,
        ca=ca,
        seconds=seconds,
        speed=speed,
        metrics_port=metrics_port,
    )
    record_command(request, folder, as_json=as_json)


@app.command()
def digest(store: Store) -> None:
    """Print the SHA-256 over all signals of a store: equal digests, equal runs."""
    from flows.commands_inspect import print_digest

    print_digest(store)


@app.command()
def summary(store: Store, as_json: Json = False) -> None:
    """Print the summary of a stored run again."""
    from flows.commands_inspect import print_stored_summary

    print_stored_summary(store, as_json=as_json)


@app.command()
def gaps(
    store: Store,
    symbol: Annotated[str | None, typer.Option(help="Only of this symbol.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only in this state, as unfilled or covered.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what the feeds lost, what was fetched again, and the share lost of all data."""
    from flows.commands_gaps import print_gaps

    print_gaps(store, symbol, state, as_json=as_json)


@app.command()
def explain(
    store: Store,
    signal_id: Annotated[str, typer.Argument(metavar="SIGNAL_ID", help="Or its first digits.")],
    as_json: Json = False,
) -> None:
    """Show why a signal was given, and decide it again from what is stored."""
    from flows.commands_explain import print_explanation

    if not print_explanation(store, signal_id, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def evaluate(
    leg: Annotated[Leg, typer.Argument(help="What to evaluate.")],
    data: Annotated[Path, typer.Option(help="Bars, or a CSV of text and label for sentiment.")],
    model: Annotated[str | None, typer.Option(help="A model of the manifest, by name.")] = None,
    interval: Annotated[
        str | None, typer.Option(help="Bar interval, 1s or 1m; default what the bars show.")
    ] = None,
    tz: Annotated[
        str | None, typer.Option(help="Zone of times without one; default America/New_York.")
    ] = None,
    label: Annotated[BarLabel, typer.Option(help="What a bar's time says.")] = BarLabel.CLOSE,
    calendar: Annotated[
        str | None, typer.Option(help="24/7 or a market code; default what the bars show.")
    ] = None,
    symbols: Annotated[str | None, typer.Option(help="Only these.", metavar="A,B")] = None,
    cache: Annotated[Path | None, typer.Option(help="Keep computed features here.")] = None,
    allow_seen: Annotated[
        bool, typer.Option("--allow-seen", help="Also data the model was made from.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure a model on data it has not seen, beside its baselines."""
    from flows.commands_evaluate import BarOptions, print_evaluation

    options = BarOptions(interval, tz, label.value, calendar, _symbols(symbols), cache)
    print_evaluation(leg.value, data, model, options, allow_seen=allow_seen, as_json=as_json)


@app.command()
def models(as_json: Json = False) -> None:
    """List the trained models: hash, interval, what they were trained on, how good they are."""
    from flows.commands_models import print_models

    print_models(as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check Python, packages, models, SQLite, clock and disk; exit code 1 if any is wrong."""
    from flows.doctor import print_checks

    if not print_checks(as_json=as_json):
        raise typer.Exit(1)


@app.command(
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "help_option_names": [],  # its own help is asked for
    }
)
def exchange(context: typer.Context) -> None:
    """Serve a fake venue from recordings, with faults: for load tests, demos and development."""
    try:
        from exchange.command import main as serve
    except ModuleNotFoundError as error:
        if error.name not in {"aiohttp", "trustme"}:
            raise
        typer.echo("nextgen: the exchange needs more packages: make exchange", err=True)
        raise typer.Exit(2) from error
    command = typer.Typer(add_completion=False)
    command.command()(serve)
    command(context.args, prog_name="nextgen exchange")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
