"""`nextgen alerts`: what fires, who is told, and what people say about it."""

# ruff: noqa: PLC0415 - so that help and errors of usage come at once

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="See, deliver, silence and acknowledge alerts.")

Store = Annotated[Path, typer.Argument(metavar="STORE", help="A file made by run, replay or demo.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Actor = Annotated[str, typer.Option(help="Who says so.")]


@app.command("list")
def list_alerts(
    store: Store,
    every: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False,
    as_json: Json = False,
) -> None:
    """List what fires now, silences that last, and the last messages to people."""
    from flows.commands_alerts import print_alerts

    print_alerts(store, every=every, as_json=as_json)


@app.command()
def deliver(
    store: Store,
    profile: Annotated[
        str | None, typer.Option(help="Another profile than the run's, for targets and routes.")
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when the process that began this one has.")
    ] = False,
) -> None:
    """Tell people of a store's alerts until stopped; a live run does so by itself."""
    from flows.alerting import deliver_alerts
    from flows.settings import load_profile

    settings = None if profile is None else load_profile(profile)
    deliver_alerts(store, settings, with_parent=with_parent)


@app.command()
def test(
    profile: Annotated[str, typer.Option(help="Whose targets are told.")],
) -> None:
    """Send a word to each target, and say whether it was taken; exit code 1 if one was not."""
    from flows.commands_alerts import test_targets

    if not test_targets(profile):
        raise typer.Exit(1)


@app.command()
def silence(
    store: Store,
    minutes: Annotated[float, typer.Option(min=0.01, help="How long from now.")],
    actor: Actor,
    reason: Annotated[str, typer.Option(help="Why.")],
    rule: Annotated[str, typer.Option(help="Pattern, as 'data_*'.")] = "*",
    severity: Annotated[str, typer.Option(help="Pattern, as 'info'.")] = "*",
    subject: Annotated[str, typer.Option(help="Pattern, as 'BTC*'.")] = "*",
) -> None:
    """Tell nobody of some alerts for a while; they are stored and shown all the same."""
    from flows.commands_alerts import add_silence

    add_silence(
        store,
        minutes=minutes,
        actor=actor,
        reason=reason,
        rule=rule,
        severity=severity,
        subject=subject,
    )


@app.command()
def acknowledge(
    store: Store,
    fingerprint: Annotated[str, typer.Argument(help="As 'nextgen alerts list' shows it.")],
    actor: Actor,
) -> None:
    """Say that you have seen what fires: nobody is told of it again until it is over."""
    from flows.commands_alerts import add_acknowledgement

    add_acknowledgement(store, fingerprint, actor=actor)
