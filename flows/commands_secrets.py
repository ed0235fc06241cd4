"""What `nextgen secrets` does. A value goes to standard output by `get`, and nowhere else."""

import sys
from getpass import getpass

import typer

from connectors.secret_file import MOST, checked_name
from connectors.secrets import Secret
from flows.secret_lookup import secret_file
from operators.errors import SecretsError


def keep(name: str) -> None:
    """Keep what is typed, or comes by standard input up to its last line end.

    Raises:
        SecretsError: it is no text, or cannot be kept.
    """
    name = checked_name(name)
    file = secret_file()
    had_key = bool(file.place.read())
    file.set(name, _typed(name) if sys.stdin.isatty() else _piped())
    if not had_key:
        typer.echo(f"a key was made in {file.place.where}: keep a copy elsewhere", err=True)
    typer.echo(f"{name} is kept in {file.path}", err=True)


def _typed(name: str) -> Secret:
    value = Secret(getpass(f"{name}: "))
    if value != Secret(getpass("again: ")):
        raise SecretsError("the two are not the same; nothing was changed")
    return value


def _piped() -> Secret:
    content = sys.stdin.buffer.read(MOST + 3)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretsError("expected a value in UTF-8") from None
    return Secret(text.removesuffix("\n").removesuffix("\r"))


def show(name: str) -> None:
    """Print a secret.

    Raises:
        SecretsError: it is not set, or the file cannot be opened.
    """
    name, file = checked_name(name), secret_file()
    found = file.get(name)
    if found is None:
        raise SecretsError(f"{file.path} holds no {name}")
    typer.echo(found.reveal())


def show_names() -> None:
    """Print the names of all secrets, sorted.

    Raises:
        SecretsError: the file cannot be read.
    """
    for name in secret_file().names():
        typer.echo(name)


def forget(name: str) -> None:
    """Remove a secret.

    Raises:
        SecretsError: it is not set, or the file cannot be opened or written.
    """
    name, file = checked_name(name), secret_file()
    if not file.remove(name):
        raise SecretsError(f"{file.path} holds no {name}")


def rotate_key() -> None:
    """Change the key.

    Raises:
        SecretsError: the file or the key cannot be read or written.
    """
    file = secret_file()
    count = file.rotate()
    typer.echo(f"{count} secrets have a new key, in {file.place.where}", err=True)
