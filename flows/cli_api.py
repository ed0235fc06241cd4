"""`nextgen api`: serve a run's store, and look after the keys to it."""

# ruff: noqa: PLC0415 - so that help and errors of usage come at once

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_scale import Json, ServicesFile

app = typer.Typer(add_completion=False, help="Serve a run: API, push and dashboard.")
keys_app = typer.Typer(no_args_is_help=True, help="Make, list, revoke and rotate API keys.")
app.add_typer(keys_app, name="keys")

KeysFile = Annotated[
    Path, typer.Option("--keys", envvar="NEXTGEN_API_KEYS", help="The file that keys are kept in.")
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="As 'keys list' shows it.")]
KEYS = Path("runs/api.keys")


@app.callback(invoke_without_command=True)
def serve(
    context: typer.Context,
    store: Annotated[Path, typer.Option(help="The store of the run to serve.")] = Path(
        "runs/live.sqlite"
    ),
    services: ServicesFile = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8600,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM, with its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key, PEM.")] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="A further host name it is reached by.")
    ] = None,
    keys: KeysFile = KEYS,
    with_parent: Annotated[
        bool, typer.Option(hidden=True, help="End as soon as standard input does.")
    ] = False,
) -> None:
    """Serve until stopped: from --store, or from PostgreSQL where --services names one.

    Off this machine only with TLS and keys. On it, without keys, whoever is there may do all.
    """
    if context.invoked_subcommand is not None:
        return
    from api.settings import ApiSettings
    from flows.commands_api import serve_command

    settings = ApiSettings(
        host=host, port=port, certificate=tls_cert, key=tls_key, names=tuple(name or ())
    )
    serve_command(settings, store, services, keys, with_parent=with_parent)


@keys_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: the actor of their orders.")],
    scope: Annotated[str, typer.Option(help="read, operate or admin.")] = "read",
    days: Annotated[float, typer.Option(min=0.001, max=3650, help="How long it is good.")] = 90.0,
    keys: KeysFile = KEYS,
) -> None:
    """Make a key and print it; it is shown this once."""
    from api.keys import DAY, KeyStore, Scope

    if scope not in list(Scope):
        raise typer.BadParameter(f"expected one of {', '.join(Scope)}, found '{scope}'")
    with KeyStore(keys) as store:
        text, key = store.create(name, Scope(scope), int(days * DAY))
    typer.echo(text)
    typer.echo(f"{key.scope} key {key.id} of {key.name}, until {_day(key.expires)}", err=True)


@keys_app.command("list")
def listed(keys: KeysFile = KEYS, as_json: Json = False) -> None:
    """List the keys, not their texts, which are kept nowhere."""
    import json
    import time

    from api.keys import KeyStore

    with KeyStore(keys) as store:
        found = store.list()
    if as_json:
        typer.echo(json.dumps([key._asdict() for key in found]))
        return
    now = time.time_ns()
    for key in found:
        state = "revoked" if key.revoked else "good" if key.good(now) else "expired"
        line = (key.id, key.scope, state, f"until {_day(key.expires)}", key.name)
        typer.echo("  ".join((line[0], f"{line[1]:7}", f"{line[2]:7}", *line[3:])))


@keys_app.command()
def revoke(identity: KeyId, keys: KeysFile = KEYS) -> None:
    """End a key now, and the sessions begun with it."""
    from api.keys import KeyStore

    with KeyStore(keys) as store:
        store.revoke(identity)


@keys_app.command()
def rotate(
    identity: KeyId,
    grace_hours: Annotated[
        float, typer.Option(min=0.0, max=720.0, help="How long the old one stays good.")
    ] = 24.0,
    keys: KeysFile = KEYS,
) -> None:
    """Make a key in the place of another, and print it."""
    from api.keys import DAY, KeyStore

    with KeyStore(keys) as store:
        text, key = store.rotate(identity, int(grace_hours / 24.0 * DAY))
    typer.echo(text)
    typer.echo(f"{key.scope} key {key.id} of {key.name}, until {_day(key.expires)}", err=True)


def _day(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).strftime("%Y-%m-%d %H:%M UTC")
