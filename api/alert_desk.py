"""Alerts of a run, whom they were told, and what operators say about them.

All of it stands in the warm store, also at scale: silences and acknowledgements are no part of
the stream, since they change what people hear and nothing that is decided.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from api import views
from api.reader import place_of
from api.rows import Row, SqliteRows
from connectors.alerts import records
from connectors.alerts.records import Silence
from connectors.sinks.store import open_store
from operators.errors import EngineError, StoreError
from operators.messages import Severity

_RANKS = {severity: rank for rank, severity in enumerate(Severity)}  # the worst first
_WORST = 20  # that the push names; how many there are it tells of all


class Firing(NamedTuple):
    """What fires now, and the silences that last."""

    alerts: list[Row]
    silences: list[Silence]


class AlertDesk:
    """One warm store, read by connections that may not write, and written by others."""

    def __init__(self, path: Path) -> None:
        """Name the store; it is opened when it is asked."""
        self.path = path
        self._rows = SqliteRows(path)

    def close(self) -> None:
        """Close what is idle."""
        self._rows.close()

    # Each of these raises StoreError, or TooLong where it reads.

    def firing(self) -> Firing:
        """Return what fires now, the longest first, and the silences that last."""
        with self._rows.opened() as store:
            return Firing(records.active_alerts(store), records.silences(store, now=time.time_ns()))

    def standing(self) -> dict[str, Any] | None:
        """Return what fires, as an `AlertsNow`; None where the store cannot tell."""
        try:
            found = self.firing()
        except EngineError:
            return None
        told = [views.firing_alert(row, found.silences) for row in found.alerts]
        told.sort(key=lambda each: (_RANKS[each["severity"]], each["since"]))
        unseen = [each for each in told if not (each["silenced"] or each["acknowledged_by"])]
        return {
            "firing": len(told),
            "unseen": Counter(each["severity"] for each in unseen),
            "worst": told[:_WORST],
        }

    def alerts(self, *, since: int, until: int, limit: int, cursor: str | None) -> list[Row]:
        """Return what was told in [since, until] (ns), newest first, behind `cursor`."""
        behind = None if cursor is None else place_of(cursor, int, str, str)
        with self._rows.opened() as store:
            return records.read_alerts(store, since=since, until=until, limit=limit, behind=behind)

    def deliveries(self, *, limit: int, cursor: str | None) -> list[Row]:
        """Return messages to people, newest first, behind `cursor`."""
        behind = None if cursor is None else place_of(cursor, int, str)
        with self._rows.opened() as store:
            return records.read_deliveries(store, limit=limit, behind=behind)

    def silence(
        self, *, rule: str, severity: str, subject: str, seconds: int, actor: str, reason: str
    ) -> Silence:
        """Tell nobody of such alerts from now on, for `seconds`."""
        now = time.time_ns()
        with self._writable() as store:
            return records.silence(
                store,
                rule=rule,
                severity=severity,
                subject=subject,
                now=now,
                until=now + seconds * 10**9,
                actor=actor,
                reason=reason,
            )

    def end_silence(self, silence_id: str) -> None:
        """Let a silence end now. Raises InputError if none of this id lasts."""
        with self._writable() as store:
            records.end_silence(store, silence_id, now=time.time_ns())

    def acknowledge(self, fingerprint: str, *, actor: str) -> Row:
        """Note that `actor` has seen what fires. Raises InputError if nothing of it does."""
        at = time.time_ns()
        with self._writable() as store:
            alert_id = records.acknowledge(store, fingerprint, actor=actor, at=at)
        return {"alert_id": alert_id, "fingerprint": fingerprint, "actor": actor, "at": at}

    @contextmanager
    def _writable(self) -> Iterator[sqlite3.Connection]:
        open_store(self.path, readonly=True).close()  # to write would make one
        with closing(open_store(self.path)) as store:
            try:
                yield store
            except sqlite3.Error as error:
                raise StoreError(f"{self.path} cannot be used now: {error}") from error
