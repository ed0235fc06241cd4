"""Drop rows past their time, and keep their counts, so that a summary still adds up."""

import sqlite3

from connectors.sinks.tables import TABLES

# What the accounting of a run sums up, by the name it is remembered under. Unknown symbols are
# left out: the run counts them itself, as not all are kept as rows.
_COUNTED = {
    "trades": "SELECT coalesce(sum(trades), 0) FROM final_bars WHERE ts_close < :before",
    "quotes": "SELECT coalesce(sum(quotes), 0) FROM final_bars WHERE ts_close < :before",
    "bars_without_trades": (
        "SELECT count(*) FROM final_bars WHERE ts_close < :before "
        "AND quality = 'observed' AND trades = 0"
    ),
    "rejections": (
        "SELECT count(*) FROM rejections WHERE ts_init < :before AND reason <> 'unknown_symbol'"
    ),
    "missing_trades": (
        "SELECT coalesce(sum(last_id - first_id + 1 - filled), 0) FROM gaps WHERE ts_to < :before"
    ),
}


def forget(store: sqlite3.Connection, before: int) -> None:
    """Drop what is older than `before` (event time, ns) from every table that ages.

    Call it within a transaction, so that counts and rows change together.
    """
    for name, query in _COUNTED.items():
        (count,) = store.execute(query, {"before": before}).fetchone()
        if count:
            store.execute(
                "INSERT INTO forgotten VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET count = count + excluded.count",
                (name, count),
            )
    for table in TABLES.values():
        if table.ages_by is not None:
            store.execute(
                f"DELETE FROM {table.name} WHERE {table.ages_by} < ?",  # noqa: S608 - ours
                (before,),
            )


def forgotten(store: sqlite3.Connection) -> dict[str, int]:
    """Return the counts of what was dropped: trades, quotes, rejections and so on."""
    return {str(name): int(count) for name, count in store.execute("SELECT * FROM forgotten")}
