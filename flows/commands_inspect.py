"""`nextgen digest` and `nextgen summary`: what a store says at a glance."""

import json
from contextlib import closing
from pathlib import Path

from rich.console import Console

from connectors.sinks.store import open_store
from flows.digest import digest
from flows.reports import print_summary
from flows.summary import summarise


def print_digest(path: Path) -> None:
    """Print the digest of a store's signals, alone on a line."""
    with closing(open_store(path, readonly=True)) as store:
        print(digest(store))  # noqa: T201 - the output


def print_stored_summary(path: Path, *, as_json: bool) -> None:
    """Print a store's summary."""
    with closing(open_store(path, readonly=True)) as store:
        summary = summarise(store)
    if as_json:
        print(json.dumps(summary))  # noqa: T201 - the output
    else:
        print_summary(summary, Console())
