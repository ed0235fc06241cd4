"""`nextgen secrets`: keys and tokens in an encrypted file. Values are never arguments."""

# ruff: noqa: PLC0415 - so that help and errors of usage come at once

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Keep keys, passwords and URLs encrypted.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="As BINANCE_KEY.")]


@app.command("set")
def set_secret(name: Name) -> None:
    """Keep a secret, read from standard input, or asked for at a terminal."""
    from flows.commands_secrets import keep

    keep(name)


@app.command()
def get(name: Name) -> None:
    """Print a kept secret on standard output."""
    from flows.commands_secrets import show

    show(name)


@app.command("list")
def list_secrets() -> None:
    """Print the names of what is kept; it takes no key."""
    from flows.commands_secrets import show_names

    show_names()


@app.command()
def remove(name: Name) -> None:
    """Forget a secret."""
    from flows.commands_secrets import forget

    forget(name)


@app.command()
def rotate() -> None:
    """Encrypt all with a new key, and drop the one before."""
    from flows.commands_secrets import rotate_key

    rotate_key()


@app.command("new-key")
def make_key() -> None:
    """Print a new key, for an environment, a file or a keyring of your own; nothing is kept."""
    from connectors.secret_keys import new_key

    typer.echo(new_key().reveal())
