"""Alerts as the store has them, and what people say about them: silences, acknowledgements.

All functions take an open store, which must be the calling thread's own. Times are UNIX ns.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from uuid import uuid4

import msgspec

from connectors.sinks.sqlite import alert_row
from connectors.sinks.store import path_of, transaction, write_error
from connectors.sinks.tables import TABLES
from operators.alert_book import Standing, fingerprint_of
from operators.errors import InputError
from operators.messages import Alert, AlertState

ANY = "*"
# That nothing was told of the alert `a` later. Each table is searched by its own key: of their
# union SQLite would build an index for each question.
LATEST = """
    NOT EXISTS (
        SELECT 1 FROM alerts WHERE fingerprint = a.fingerprint AND ts_event > a.ts_event)
    AND NOT EXISTS (
        SELECT 1 FROM process_alerts WHERE fingerprint = a.fingerprint AND ts_event > a.ts_event)
"""
# What fires, and whether a person has seen it.
_FIRING = f"""
    SELECT a.*, k.actor AS acknowledged_by, k.at AS acknowledged_at FROM all_alerts AS a
    LEFT JOIN acknowledgements AS k ON k.alert_id = a.alert_id
    WHERE a.state = ? AND {LATEST} ORDER BY a.since, a.fingerprint
"""  # noqa: S608 - ours


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts that nobody is told of for a while; each pattern as a shell has it, `*` for all."""

    silence_id: str
    rule: str
    severity: str
    subject: str
    made_at: int
    until: int
    actor: str
    reason: str

    def covers(self, rule: str, severity: str, subject: str) -> bool:
        """Say whether an alert of these is meant."""
        return (
            fnmatchcase(rule, self.rule)
            and fnmatchcase(severity, self.severity)
            and fnmatchcase(subject, self.subject)
        )


def covered(alert: Mapping[str, Any], lasting: Iterable[Silence]) -> bool:
    """Say whether people are kept from an alert, a row of the store, by a silence of these."""
    return any(each.covers(alert["rule"], alert["severity"], alert["subject"]) for each in lasting)


def read_alerts(
    store: sqlite3.Connection,
    *,
    since: int = 0,
    until: int = 2**63 - 1,
    limit: int = 1000,
    behind: tuple[int, str, str] | None = None,
) -> list[dict[str, Any]]:
    """Return what was told in [since, until], newest first, at most `limit`; facts are JSON text.

    `source` says whether the stream gave rise to it or the process beside it. With `behind`, a
    row's (ts_event, fingerprint, state), those that follow it.
    """
    query = "SELECT * FROM all_alerts WHERE ts_event BETWEEN ? AND ?"
    values: list[Any] = [since, until]
    if behind is not None:
        ts_event, *named = behind
        query += " AND (ts_event < ? OR ts_event = ? AND (fingerprint, state) > (?, ?))"
        values += [ts_event, ts_event, *named]
    query += " ORDER BY ts_event DESC, fingerprint, state LIMIT ?"
    return [dict(row) for row in store.execute(query, (*values, limit))]


def active_alerts(store: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return what fires now, as `read_alerts` does, with `acknowledged_by` and `_at` (or None)."""
    return [dict(row) for row in store.execute(_FIRING, (AlertState.FIRING,))]


def read_deliveries(
    store: sqlite3.Connection, *, limit: int = 100, behind: tuple[int, str] | None = None
) -> list[dict[str, Any]]:
    """Return the last messages to people, newest first: state, attempts and the last error.

    With `behind`, a row's (made_at, delivery_id), those that follow it.
    """
    query, values = "SELECT * FROM deliveries", []
    if behind is not None:
        made_at, delivery_id = behind
        query += " WHERE made_at < ? OR made_at = ? AND delivery_id > ?"
        values += [made_at, made_at, delivery_id]
    query += " ORDER BY made_at DESC, delivery_id LIMIT ?"
    return [dict(row) for row in store.execute(query, (*values, limit))]


def write_process_alerts(
    store: sqlite3.Connection, alerts: Iterable[Alert], *, simulated: bool = False
) -> None:
    """Store alerts of what is watched beside the stream.

    Raises:
        StoreError: the store cannot be written.
    """
    rows = [alert_row(alert, int(simulated)) for alert in alerts]
    if rows:
        _write(store, "process_alerts", rows)


def standing_process_alerts(
    store: sqlite3.Connection, rules: Iterable[str], subject: str
) -> dict[str, Standing]:
    """Return which alerts of `rules` about `subject` fire by the store, for a book to go on from.

    By fingerprint; each was held when it was told last.
    """
    found: dict[str, Standing] = {}
    for name in (fingerprint_of(rule, subject) for rule in rules):
        row = store.execute(
            "SELECT * FROM process_alerts WHERE fingerprint = ? ORDER BY ts_event DESC LIMIT 1",
            (name,),
        ).fetchone()
        if row is not None and row["state"] == AlertState.FIRING:
            facts = json.loads(row["facts"])
            condition = (row["rule"], row["severity"], subject, row["summary"], facts)
            told_at = row["ts_event"]
            found[name] = Standing(condition, row["since"], told_at, told_at)
    return found


def silence(
    store: sqlite3.Connection,
    *,
    until: int,
    actor: str,
    reason: str,
    now: int,
    rule: str = ANY,
    severity: str = ANY,
    subject: str = ANY,
) -> Silence:
    """Tell nobody of such alerts until then; what fires still is told again afterwards.

    Raises:
        InputError: it would end before it begins, or nobody stands for it.
        StoreError: the store cannot be written.
    """
    if until <= now:
        raise InputError("expected a silence that ends later than now")
    if not actor.strip() or not reason.strip():
        raise InputError("a silence needs who asks for it, and why")
    made = Silence(
        silence_id=uuid4().hex[:16],
        rule=rule,
        severity=severity,
        subject=subject,
        made_at=now,
        until=until,
        actor=actor,
        reason=reason,
    )
    _write(store, "silences", [msgspec.structs.astuple(made)])
    return made


def end_silence(store: sqlite3.Connection, silence_id: str, *, now: int) -> None:
    """Let a silence end now.

    Raises:
        InputError: no silence of this id lasts.
        StoreError: the store cannot be written.
    """
    found = [each for each in silences(store, now=now) if each.silence_id == silence_id]
    if not found:
        raise InputError(f"no silence {silence_id} lasts")
    ended = msgspec.structs.replace(found[0], until=now)
    _write(store, "silences", [msgspec.structs.astuple(ended)])


def silences(store: sqlite3.Connection, *, now: int) -> list[Silence]:
    """Return the silences that last at `now`, the one that ends first in front."""
    query = "SELECT * FROM silences WHERE until > ? AND made_at <= ? ORDER BY until, silence_id"
    return [msgspec.convert(dict(row), Silence) for row in store.execute(query, (now, now))]


def acknowledge(store: sqlite3.Connection, fingerprint: str, *, actor: str, at: int) -> str:
    """Note that `actor` has seen what fires: nobody is told again until it is resolved.

    Returns the id of this time that it fires; when it fires anew, it is told anew.

    Raises:
        InputError: nothing of this fingerprint fires, or nobody stands for it.
        StoreError: the store cannot be written.
    """
    if not actor.strip():
        raise InputError("an acknowledgement needs who gives it")
    found = [each for each in active_alerts(store) if each["fingerprint"] == fingerprint]
    if not found:
        raise InputError(f"no alert {fingerprint} fires")
    alert_id: str = found[0]["alert_id"]
    _write(store, "acknowledgements", [(alert_id, fingerprint, at, actor)])
    return alert_id


def _write(store: sqlite3.Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    try:
        with transaction(store):
            store.executemany(TABLES[table].upsert, rows)
    except sqlite3.Error as error:
        raise write_error(path_of(store), error) from error
