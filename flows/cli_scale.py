"""The commands of a run through Kafka, and those that look after stores."""

# ruff: noqa: PLC0415 - so that help and errors of usage come at once

from pathlib import Path
from typing import Annotated

import typer

from operators.errors import SettingsError

app = typer.Typer(add_completion=False)
store_app = typer.Typer(no_args_is_help=True, help="Look after the stores of a run.")
app.add_typer(store_app, name="store")

Store = Annotated[Path, typer.Argument(metavar="STORE", help="A file made by run, replay or demo.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
ServicesFile = Annotated[
    Path | None,
    typer.Option(
        "--services",
        envvar="NEXTGEN_SERVICES",
        help="TOML with tables kafka, redis, postgresql, influxdb.",
    ),
]


def split(text: str | None) -> tuple[str, ...] | None:
    """Return the symbols in a text like 'A,B'; None for none."""
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


@app.command()
def ingest(
    profile: Annotated[str, typer.Option(help="A shipped profile, or a path to a .toml file.")],
    services: ServicesFile = None,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH...]", help="Recordings; else live feeds.")
    ] = None,
    headlines: Annotated[
        list[Path] | None, typer.Option(help="Headlines as JSON lines, with recordings.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where journal and position are kept.")] = Path(
        "runs/ingest"
    ),
    symbols: Annotated[str | None, typer.Option(help="The universe.", metavar="A,B|all")] = None,
    speed: Annotated[
        float | None,
        typer.Option(min=0.1, help="Times real time: of recordings, else at once; of a venue."),
    ] = None,
    exchange: Annotated[
        str | None, typer.Option(help="Use the venue at this URL for every feed.", metavar="URL")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Trust this certificate authority, too.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Stop after so long.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Serve Prometheus metrics on 127.0.0.1.")
    ] = None,
) -> None:
    """Write what live feeds bring, or recordings hold, into Kafka: a log for each shard."""
    from flows.commands_live import request_for
    from flows.scale_ingest import ingest_live, ingest_recording
    from flows.services import load_services

    known = load_services(services)
    if paths:
        ingest_recording(
            known, profile, split(symbols), paths, headlines or (), folder, speed=speed
        )
        return
    if headlines:
        raise SettingsError("--headlines goes with recordings; live headlines come from feeds")
    request = request_for(
        profile,
        symbols=split(symbols),
        exchange=exchange,
        ca=ca,
        seconds=seconds,
        speed=1.0 if speed is None else speed,
        metrics_port=metrics_port,
    )
    ingest_live(known, request, folder)


@app.command()
def portfolio(
    services: ServicesFile = None,
    patience: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds that a bar close waits for a shard; else for ever."),
    ] = None,
) -> None:
    """Apply risk over the scores of all shards, and send signals to Kafka."""
    from flows.scale import run_portfolio
    from flows.services import load_services

    run_portfolio(load_services(services), patience)


@app.command()
def archive(
    services: ServicesFile = None,
    store: Annotated[Path | None, typer.Option(help="A SQLite file to write, too.")] = None,
    folder: Annotated[Path, typer.Option(help="Where rows go that a store refuses.")] = Path(
        "runs/archive"
    ),
    idle_seconds: Annotated[
        float | None, typer.Option(min=0.5, help="End once nothing has come for so long.")
    ] = None,
) -> None:
    """Bring signals and all records from Kafka into the stores."""
    from flows.scale import run_archive
    from flows.services import load_services

    run_archive(load_services(services), folder, store, idle_seconds=idle_seconds)


@store_app.command()
def check(
    store: Store,
    services: ServicesFile = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write what the others lack, from STORE.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare a run's store with PostgreSQL and Redis; exit code 1 if they differ."""
    from flows.commands_store_check import check_command

    if not check_command(store, services, repair=repair, as_json=as_json):
        raise typer.Exit(1)


@store_app.command()
def migrate(services: ServicesFile = None) -> None:
    """Bring PostgreSQL to the layout that this engine writes."""
    from flows.commands_store_check import migrate_command

    migrate_command(services)


@store_app.command()
def backup(
    store: Store,
    folder: Annotated[Path, typer.Argument(help="A folder that is not there yet.")],
    as_json: Json = False,
) -> None:
    """Copy a run: its store, recovery, journal and outbox; the run may go on meanwhile."""
    from flows.commands_store import backup_command

    backup_command(store, folder, as_json=as_json)


@store_app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A folder that backup wrote.")],
    as_json: Json = False,
) -> None:
    """Read a backup whole, and compare it with its checksums."""
    from flows.commands_store import verify_command

    verify_command(folder, as_json=as_json)


@store_app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that backup wrote.")],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A file that is not there yet.")],
    as_json: Json = False,
) -> None:
    """Put a backup back; the run goes on from there."""
    from flows.commands_store import restore_command

    restore_command(folder, store, as_json=as_json)
