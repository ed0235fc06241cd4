"""How the feeds of a live run do, beside what it decided.

*At least once; rows are upserted by feed*, and an older report never replaces a newer one.
"""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from connectors.feeds import FeedHealth
from connectors.sinks.store import open_store, transaction, write_error
from connectors.sinks.tables import TABLES


def write_feed_health(
    store: sqlite3.Connection | Path | str, reports: Iterable[FeedHealth], *, at: int
) -> None:
    """Store how each feed does at `at` (UNIX ns, of the clock that stamps receipt).

    May be called from any thread while the flow writes to the same store: WAL lets others
    read, and of two writers the second waits, here and there for up to ten seconds. A
    connection must be the calling thread's own, not the sink's; a path is opened and closed.

    Raises:
        StoreError: the store cannot be written; the reports before stand.
    """
    # Copied at once: the feeds' own thread goes on counting.
    rows = [
        (
            report.feed,
            at,
            report.state,
            report.note,
            json.dumps(dict(report.counts), sort_keys=True),
            json.dumps(_finite(dict(report.gauges)), sort_keys=True),
        )
        for report in reports
    ]
    with ExitStack() as stack:
        if isinstance(store, sqlite3.Connection):
            opened, path = store, "the store"
        else:
            opened, path = stack.enter_context(closing(open_store(store))), str(store)
        try:
            with transaction(opened):
                opened.executemany(TABLES["feeds"].upsert, rows)
        except sqlite3.Error as error:
            raise write_error(path, error) from error


def _finite(gauges: dict[str, float]) -> dict[str, float | None]:
    """Return gauges as JSON can hold them: what is not finite is unknown."""
    return {name: value if abs(value) < float("inf") else None for name, value in gauges.items()}


def read_feed_health(store: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the last report of each feed, by name: feed, at, state, note, counts, gauges."""
    return [
        dict(row) | {"counts": json.loads(row["counts"]), "gauges": json.loads(row["gauges"])}
        for row in store.execute("SELECT * FROM feeds ORDER BY feed")
    ]
