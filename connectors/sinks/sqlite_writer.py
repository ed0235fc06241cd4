"""A SQLite store as one that `Drain` writes to: the archive, and the warm store at scale.

*At least once; rows are upserted by their identity.*
"""

import sqlite3
from collections import defaultdict
from pathlib import Path

from connectors.sinks.retention import forget
from connectors.sinks.store import open_store, transaction, write_error
from connectors.sinks.tables import TABLES
from connectors.sinks.writers import Row, RowRefused, Rows, StoreDown, StoreRefused
from operators.errors import StoreError

# What passes by itself, or once there is room; all else needs a person.
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
}
_PRIMARY = 0xFF  # of an extended error code

# A value that does not fit its column, or SQLite: an integer over 64 bits, a lone surrogate, a
# missing value, a row of another length.
_OF_A_VALUE = (
    OverflowError,
    UnicodeEncodeError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)


class SqliteWriter:
    """Write rows into the store file at `path`, made where it is absent.

    Rows older than `keep` (ns of event time) are dropped; None keeps all.
    """

    name = "sqlite"

    def __init__(self, path: Path | str, *, keep: int | None = None) -> None:
        """Take the path; nothing is opened yet."""
        self.path = Path(path)
        self.keep = keep
        self._store: sqlite3.Connection | None = None

    def connect(self) -> None:
        """Open the file unless it is open. Raises StoreDown or StoreRefused."""
        if self._store is not None:
            return
        try:
            store = open_store(self.path)
        except StoreError as error:
            raise _kind(error.__cause__)(str(error)) from error
        # A commit is on the disk when it returns: what is acknowledged is not given again.
        store.execute("PRAGMA synchronous = FULL")
        self._store = store

    def write(self, rows: Rows) -> None:
        """Write all rows in one transaction. Raises StoreDown, StoreRefused or RowRefused."""
        by_table: defaultdict[str, list[Row]] = defaultdict(list)
        for table, row in rows:
            if table not in TABLES:
                raise RowRefused(f"{self.path} has no table {table}")
            by_table[table].append(row)
        store = self._opened()
        try:
            with transaction(store):
                for table, of_table in by_table.items():
                    store.executemany(TABLES[table].upsert, of_table)
        except _OF_A_VALUE as error:
            raise RowRefused(f"{self.path} takes no such row: {error}") from error
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def tidy(self, now: int) -> None:
        """Drop what is older than `keep` before `now`. Raises StoreDown or StoreRefused."""
        if self.keep is None:
            return
        store = self._opened()
        try:
            with transaction(store):
                forget(store, now - self.keep)
        except sqlite3.Error as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Close the file."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self) -> sqlite3.Connection:
        if self._store is None:
            raise StoreDown(f"{self.path} is not open; connect first")
        return self._store

    def _broken(self, error: sqlite3.Error) -> StoreDown | StoreRefused:
        self.close()
        return _kind(error)(str(write_error(self.path, error)))


def _kind(error: BaseException | None) -> type[StoreDown | StoreRefused]:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        return StoreDown if code in _PASSING else StoreRefused
    return StoreRefused
