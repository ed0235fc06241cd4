"""What of the store's alerts a target is still to be told, and what it is not, with the reason."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from connectors.alerts.messages import Row
from connectors.alerts.records import LATEST, Silence, covered
from operators.messages import SECOND, AlertState, Severity

RULE = "delivery"  # of the alert that a target is down
_MOST = 20_000  # alerts read at once
_SILENCED = "silenced"
_SKIPPED = frozenset({_SILENCED, "acknowledged", "old", "own", "untold"})
_ROUTED = """
    SELECT 1 FROM routed_alerts WHERE target = ?
    AND event_id = a.fingerprint || ':' || a.ts_event || ':' || a.state
"""
_WAITING = f"""
    SELECT * FROM all_alerts AS a WHERE severity IN ({{severities}})
    AND NOT EXISTS ({_ROUTED}) ORDER BY ts_event, fingerprint LIMIT ?
"""  # noqa: S608 - ours
# Kept from people by a silence, and firing still.
_HUSHED = f"""
    SELECT * FROM all_alerts AS a WHERE severity IN ({{severities}}) AND state = 'firing'
    AND EXISTS ({_ROUTED} AND outcome = '{_SILENCED}')
    AND {LATEST}
"""  # noqa: S608 - ours
_TOLD = """
    SELECT r.outcome FROM all_alerts AS a JOIN routed_alerts AS r
    ON r.event_id = a.fingerprint || ':' || a.ts_event || ':' || a.state
    WHERE r.target = ? AND a.alert_id = ? AND a.state = 'firing'
"""


def last_written(store: sqlite3.Connection) -> tuple[Any, ...]:
    """Return what changes with each new alert.

    Not the number of the row alone: once retention has dropped the last one it is given again.
    """
    query = "SELECT rowid, fingerprint, ts_event, state FROM {} ORDER BY rowid DESC LIMIT 1"
    rows = (store.execute(query.format(name)).fetchone() for name in ("alerts", "process_alerts"))
    return tuple(row and tuple(row) for row in rows)


def waiting(
    store: sqlite3.Connection, target: str, severities: Sequence[str], silent: Sequence[Silence]
) -> list[Row]:
    """Return what `target` has neither been told nor been kept from, in the order of time.

    What only a silence has kept from it and fires still is among them once no silence of
    `silent`, those that last, is meant for it.
    """
    marks = {"severities": ", ".join("?" * len(severities))}
    values = (*severities, target)
    rows = [dict(row) for row in store.execute(_WAITING.format(**marks), (*values, _MOST))]
    hushed = (dict(row) for row in store.execute(_HUSHED.format(**marks), values))
    rows += [row for row in hushed if not covered(row, silent)]
    return sorted(rows, key=lambda row: (row["ts_event"], row["fingerprint"]))


def sort_out(
    store: sqlite3.Connection,
    target: str,
    rows: Sequence[Row],
    silent: Sequence[Silence],
    *,
    now: int,
    old_seconds: float,
) -> tuple[list[Row], list[tuple[Row, str]]]:
    """Part what people are to be told of `rows` from what they are not, with the reason."""
    seen = {row[0] for row in store.execute("SELECT alert_id FROM acknowledgements")}
    newest = _newest(store, now)
    wanted: list[Row] = []
    skipped: list[tuple[Row, str]] = []
    told: set[str] = set()
    kept: dict[str, str] = {}  # why the last that fired of these rows is not told, by alert_id
    for row in rows:
        name = row["alert_id"]
        why = ""
        if row["rule"] == RULE and row["subject"] == target:
            why = "own"  # whom it would tell that it is down
        elif covered(row, silent):
            why = _SILENCED
        elif row["state"] == AlertState.RESOLVED:
            why = "" if name in told else _untold(store, target, name, kept.get(name))
        elif name in seen:
            why = "acknowledged"
        elif row["severity"] != Severity.CRITICAL:
            behind = newest[_clock_of(row)] - row["ts_event"]
            why = "old" if behind > round(old_seconds) * SECOND else ""
        if not why:
            wanted.append(row)
            told.add(name)
            continue
        skipped.append((row, why))
        if row["state"] == AlertState.FIRING and kept.get(name) != "acknowledged":
            kept[name] = why
    return wanted, skipped


def _clock_of(row: Row) -> str:
    """Name the clock by which an alert's times are: a replayed market's may be years behind ours.

    >>> _clock_of({"source": "process", "rule": "cpu"})
    'process'
    """
    return RULE if row["rule"] == RULE else str(row["source"])


def _newest(store: sqlite3.Connection, now: int) -> dict[str, int]:
    """Return how far each clock is known to be: the stream's, the live run's, and our own."""
    stream, process = store.execute(
        "SELECT max(coalesce((SELECT max(ts_close) FROM portfolio), 0),"
        " coalesce((SELECT max(ts_event) FROM alerts), 0)),"
        " (SELECT max(ts_event) FROM process_alerts WHERE rule <> ?)",
        (RULE,),
    ).fetchone()
    return {"stream": stream, "process": process or 0, RULE: now}


def _untold(store: sqlite3.Connection, target: str, alert_id: str, kept: str | None) -> str:
    """Say why nobody wants to hear of this end: the begin was kept from them."""
    outcomes = [row[0] for row in store.execute(_TOLD, (target, alert_id))]
    if kept is not None:
        outcomes.append(kept)
    # Seen by a person who had been told of it before.
    unheard = _SKIPPED - {"acknowledged"}
    return "untold" if outcomes and all(each in unheard for each in outcomes) else ""
