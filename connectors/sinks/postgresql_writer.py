"""The cold store: PostgreSQL, which keeps what was decided and why for a year.

*At least once; rows are upserted by their identity*, so a repeated batch is the same rows. A
batch is one transaction: it is all there, on disk, or not at all.
"""

from typing import Any

import psycopg
import structlog
from psycopg import errors

from connectors.secrets import Secret
from connectors.sinks.postgresql_connection import (
    Connection,
    PostgresqlSettings,
    connect,
    translating,
)
from connectors.sinks.postgresql_layout import JSON, LAYOUTS, REVISION, TEXT, Layout
from connectors.sinks.postgresql_partitions import DAY, LARGEST, days_of, forget, make_days
from connectors.sinks.postgresql_statements import copying, staging, upserting
from connectors.sinks.writers import Row, RowRefused, Rows, StoreDown, StoreRefused

REPEATS = 3  # of a transaction that another one stood in the way of

_log = structlog.get_logger(__name__)

# Another transaction stood in the way, or took the partition: the same again may well succeed.
_REPEATABLE = (errors.DeadlockDetected, errors.SerializationFailure, errors.CheckViolation)


class PostgresqlWriter:
    """Writes rows to PostgreSQL; see `Writer`."""

    name = "postgresql"

    def __init__(self, settings: PostgresqlSettings, password: Secret) -> None:
        """Connect to nothing yet."""
        self.settings = settings
        self.password = password
        self._connection: Connection | None = None
        self._days: dict[str, set[int]] = {}  # partitions known to exist, by table

    def connect(self) -> None:
        """Connect unless connected, and check that the newest migration has been run.

        Raises:
            StoreDown: the server cannot be reached or is not ready.
            StoreRefused: a wrong password, database, permission, certificate or revision.
        """
        if self._connection is not None:
            return
        connection = connect(self.settings, self.password)
        try:
            with translating(self.settings):
                check_revision(connection, self.settings)
                for layout in LAYOUTS.values():
                    connection.execute(staging(layout))
        except BaseException:
            connection.close()
            raise
        self._days.clear()
        self._connection = connection

    def write(self, rows: Rows) -> None:
        """Write rows in order of time; the later of two rows of one key stands.

        Raises:
            StoreDown: nothing was written, as far as is known; connect and write again.
            StoreRefused: nothing was written until a person acts.
            RowRefused: nothing was written because of a value.
        """
        batch = latest(rows)
        if not batch:
            return
        try:
            with translating(self.settings):
                self._write(batch)
        except (StoreDown, StoreRefused):
            self.close()
            raise

    def tidy(self, now: int) -> None:
        """Drop what is more than `keep_days` older than `now` (ns).

        A day that a reader holds for long is left for the next time.

        Raises:
            StoreDown: connect and try again.
            StoreRefused: a person must act.
        """
        try:
            with translating(self.settings):
                for layout in LAYOUTS.values():
                    forget(self._connected(), layout, now - self.settings.keep_days * DAY)
        except (StoreDown, StoreRefused):
            self.close()
            raise
        self._days.clear()

    def close(self) -> None:
        """Let go of the connection. Never raises."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> Connection:
        self.connect()
        assert self._connection is not None
        return self._connection

    def _write(self, batch: dict[str, list[Row]]) -> None:
        connection = self._connected()
        for repeats in range(REPEATS + 1):
            self._make_days(connection, batch)
            try:
                with connection.transaction():
                    for table, of_table in batch.items():
                        _upsert(connection, LAYOUTS[table], of_table)
            except _REPEATABLE as error:
                if repeats == REPEATS:
                    raise
                self._days.clear()
                _log.warning("postgresql_write_repeated", error=type(error).__name__)
            else:
                return

    def _make_days(self, connection: Connection, batch: dict[str, list[Row]]) -> None:
        for table, of_table in batch.items():
            layout = LAYOUTS[table]
            if layout.partitioned_by is None:
                continue
            at = layout.table.names.index(layout.partitioned_by)
            days = {_day(row[at]) for row in of_table}
            known = self._days.setdefault(table, set())
            if days <= known:
                continue
            known |= set(days_of(connection, layout))
            make_days(connection, layout, days - known)
            known |= days


def latest(rows: Rows) -> dict[str, list[Row]]:
    """Return the row that stands of each key, by table; tables are always in one order.

    >>> latest([("tallies", ("all", "bars", 1)), ("tallies", ("all", "bars", 2))])
    {'tallies': [('all', 'bars', 2)]}

    Raises:
        RowRefused: the cold store has no such table, or its key takes no such values.
    """
    found: dict[str, dict[Row, Row]] = {table: {} for table in LAYOUTS}
    for table, row in rows:
        layout = LAYOUTS.get(table)
        if layout is None:
            raise RowRefused(f"the cold store keeps no table {table!r}")
        names = layout.table.names
        if len(row) != len(names):
            raise RowRefused(f"expected {len(names)} values for {table}, found {len(row)}")
        try:
            _keep_later(found[table], layout, row)
        except TypeError as error:  # not hashable, or of no order
            raise RowRefused(f"the key of {table} takes no such values: {error}") from error
    return {table: list(of_table.values()) for table, of_table in found.items() if of_table}


def _keep_later(found: dict[Row, Row], layout: Layout, row: Row) -> None:
    names, later_by = layout.table.names, layout.table.later_by
    key = tuple(row[names.index(name)] for name in layout.identity)
    stands = found.get(key)
    if stands is not None and later_by is not None:
        at = names.index(later_by)
        if row[at] < stands[at]:
            return
    found[key] = row


def check_revision(connection: psycopg.Connection[Any], settings: PostgresqlSettings) -> None:
    """Return if the newest migration has been run in the database, and no later one.

    Raises:
        StoreRefused: with what to do.
    """
    try:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except errors.UndefinedTable:
        found = None
    revision = found[0] if found else None
    if revision == REVISION:
        return
    what = f"has layout {revision}" if revision else "has no tables of this engine"
    what_to_do = (
        "a later version of the engine made it, so use that version"
        if revision and revision > REVISION
        else "run 'nextgen store migrate'"
    )
    raise StoreRefused(
        f"the database {settings.database} at {settings.host}:{settings.port} {what}, this engine "
        f"expects {REVISION}: {what_to_do}"
    )


def _day(time: Any) -> int:
    if not isinstance(time, int) or not -LARGEST <= time <= LARGEST:
        raise RowRefused(f"PostgreSQL takes no such time: {time!r} is no integer of 64 bits")
    return time // DAY


def _upsert(connection: Connection, layout: Layout, rows: list[Row]) -> None:
    with connection.cursor() as cursor:
        with cursor.copy(copying(layout)) as copy:
            # JSON is sent as the text it is; psycopg would make JSON of it once more.
            copy.set_types([TEXT if c.type == JSON else c.type for c in layout.columns])
            for row in rows:
                try:
                    copy.write_row(layout.values(row))
                except (TypeError, ValueError, OverflowError) as error:
                    raise RowRefused(
                        f"PostgreSQL takes no such row of {layout.name}: {error}"
                    ) from error
        cursor.execute(upserting(layout))
