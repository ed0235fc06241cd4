"""`nextgen store`: a run's files, copied and put back."""

from pathlib import Path

import msgspec
from rich.console import Console

from connectors.sinks.backup import Backup, backup, restore, verify
from flows.terminal import moment


def backup_command(store: Path, folder: Path, *, as_json: bool = False) -> None:
    """Back a run up into `folder`, and say what it holds.

    Raises:
        StoreError: it cannot be done, in one sentence.
    """
    _print(backup(store, folder), f"{folder} holds {store}", as_json=as_json)


def verify_command(folder: Path, *, as_json: bool = False) -> None:
    """Read a backup whole, and say what it holds.

    Raises:
        StoreError: it is damaged, or none.
    """
    _print(verify(folder), f"{folder} is whole", as_json=as_json)


def restore_command(folder: Path, store: Path, *, as_json: bool = False) -> None:
    """Put a backup back as `store`, where there is none, and say what it holds.

    Raises:
        StoreError: it cannot be done, in one sentence.
    """
    _print(restore(folder, store), f"{store} is restored from {folder}", as_json=as_json)


def _print(made: Backup, done: str, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(made).decode())  # noqa: T201 - the output
        return
    until = "" if made.newest is None else f", bars up to {moment(made.newest)}"
    parts = ", ".join(("store", *made.parts))
    Console().print(f"{done}: {parts}, {made.bytes:,} bytes{until}", soft_wrap=True, markup=False)
