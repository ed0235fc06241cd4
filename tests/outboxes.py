"""Outboxes with rows in them, their readers, and what a store file holds, for tests."""

import time

from connectors.sinks.outbox import Outbox
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.sqlite import rows_of
from connectors.sinks.store import open_store
from operators.messages import SECOND
from tests.stores import TS, stored_bar

PATIENCE = 60.0


def bars(first, count, symbol="BTCUSDT"):
    """Rows of bars, one a second, from the `first` on."""
    made = (stored_bar(symbol, TS + n * SECOND) for n in range(first, first + count))
    return [row for bar in made for row in rows_of(bar)]


def written(folder, *batches, readers=("sqlite",), **options):
    """An open outbox with `batches` of rows."""
    outbox = Outbox(folder, readers, **options)
    for batch in batches:
        outbox.put(batch)
    return outbox


def read_all(outbox, name="sqlite", limit=1000):
    """Read and acknowledge everything that waits."""
    reader = OutboxReader(outbox, name)
    found = []
    while entries := reader.read(limit):
        found += [row for entry in entries for row in entry.rows]
        reader.ack(entries[-1].position)
    return found


def stored(path, table="bars"):
    """The rows of a store file in key order, as they were written."""
    store = open_store(path, readonly=True)
    try:
        return [tuple(row) for row in store.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]
    finally:
        store.close()


def until(condition, seconds=PATIENCE):
    """Wait until it is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)
