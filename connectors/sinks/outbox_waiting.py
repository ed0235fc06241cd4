"""What waits in an outbox for a store, as another process than the run's sees it."""

from pathlib import Path
from typing import NamedTuple

from connectors.journal import read_journal
from connectors.sinks.outbox_files import content_of, load_cursor
from connectors.sinks.tables import TABLES
from operators.messages import Raw

_AGES = {
    name: table.names.index(table.ages_by)
    for name, table in TABLES.items()
    if table.ages_by is not None
}


class Waiting(NamedTuple):
    """Rows that a store has yet to get; `oldest` is the earliest time that one of them ages by."""

    rows: int = 0
    oldest: int | None = None  # ns


def waiting(folder: Path, reader: str) -> Waiting:
    """Return what waits for a reader in the outbox `folder`: nothing where there is none.

    Only reads, so that a run may write meanwhile.
    """
    while True:
        try:
            return _read(folder, reader)
        except FileNotFoundError:  # a segment was pruned between two looks
            continue


def _read(folder: Path, reader: str) -> Waiting:
    stand = load_cursor(folder, reader)
    if stand is None:
        return Waiting()
    count = 0
    oldest: int | None = None
    for item in read_journal(folder, start=stand.offset):
        if not isinstance(item, Raw):
            continue  # torn, or being written
        rows = content_of(item.payload).rows
        count += len(rows)
        for table, row in rows:
            age = row[_AGES[table]] if table in _AGES else None
            if age is not None and (oldest is None or age < oldest):
                oldest = age
    return Waiting(count, oldest)
