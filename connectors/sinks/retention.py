"""Drop rows past their time, and keep their counts, so that a summary still adds up."""

import sqlite3

from connectors.sinks.coverage import Coverage
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
}
_ALERTS = ("alerts", "process_alerts")
# What tells whether a gap is covered stays as long as a gap that reaches back to it.
_WITNESSES = {
    table: (
        f" AND NOT EXISTS (SELECT 1 FROM gaps WHERE gaps.symbol = {table}.symbol"  # noqa: S608 - ours
        f" AND gaps.ts_from <= {table}.{TABLES[table].ages_by})"
    )
    for table in ("holes", "switches")
}
# What delivery to people still needs: messages on their way, and of each alert that is left what
# became of it and who has seen it. An event_id begins with fingerprint (16 letters) and ts_event.
_OF_DELIVERY = {
    "deliveries": " AND state <> 'pending'",
    "acknowledgements": "".join(
        f" AND NOT EXISTS (SELECT 1 FROM {alerts} AS a"  # noqa: S608 - ours
        " WHERE a.fingerprint = acknowledgements.fingerprint"
        " AND a.alert_id = acknowledgements.alert_id)"
        for alerts in _ALERTS
    ),
    "routed_alerts": "".join(
        f" AND NOT EXISTS (SELECT 1 FROM {alerts} AS a"  # noqa: S608 - ours
        " WHERE a.fingerprint = substr(routed_alerts.event_id, 1, 16)"
        " AND a.ts_event = CAST(substr(routed_alerts.event_id, 18) AS INTEGER)"
        " AND a.fingerprint || ':' || a.ts_event || ':' || a.state = routed_alerts.event_id)"
        for alerts in _ALERTS
    ),
}
_UNLESS = _WITNESSES | _OF_DELIVERY


def forget(store: sqlite3.Connection, before: int, proven: int | None = None) -> None:
    """Drop what is older than `before` (event time, ns) from every table that ages.

    Where there is a cold store, `proven` is the event time before which it has acknowledged
    every row, late ones such as repaired bars and outcomes among them; nothing from then on is
    dropped, however old. Call it within a transaction, so that counts and rows change together.
    """
    if proven is not None:
        before = min(before, proven)
    counts = {
        name: store.execute(query, {"before": before}).fetchone()[0]
        for name, query in _COUNTED.items()
    }
    for name, count in (*counts.items(), ("missing_trades", _missing(store, before))):
        if count:
            store.execute(
                "INSERT INTO forgotten VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET count = count + excluded.count",
                (name, count),
            )
    for table in sorted(TABLES.values(), key=lambda table: table.name in _UNLESS):
        if table.ages_by is not None:
            store.execute(
                f"DELETE FROM {table.name} WHERE {table.ages_by} < ?"  # noqa: S608 - ours
                f"{_UNLESS.get(table.name, '')}",
                (before,),
            )


def _missing(store: sqlite3.Connection, before: int) -> int:
    """Return the trades that the gaps to be dropped prove lost: not those another feed covered."""
    coverage = Coverage(store)
    query = "SELECT symbol, venue, ts_from, ts_to, last_id - first_id + 1 - filled FROM gaps "
    return sum(
        missing
        for *gap, missing in store.execute(f"{query} WHERE ts_to < ?", (before,))
        if missing > 0 and not coverage.covers(*gap)
    )


def forgotten(store: sqlite3.Connection) -> dict[str, int]:
    """Return the counts of what was dropped: trades, quotes, rejections and so on."""
    return {str(name): int(count) for name, count in store.execute("SELECT * FROM forgotten")}
