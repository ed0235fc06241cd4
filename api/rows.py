"""Rows out of a store, whichever it is: SQLite beside a run, or PostgreSQL at scale."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any, Protocol

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from connectors.secrets import Secret
from connectors.sinks.postgresql_connection import PostgresqlSettings, connect, translated
from connectors.sinks.store import open_store
from operators.errors import EngineError, StoreError

type Row = dict[str, Any]

PATIENCE_SECONDS = 3.0  # for one query: whoever asks for more should ask for less at once
_POOL = 8  # connections that are kept open
_STEPS = 20_000  # of SQLite's machine between two looks at the clock, a few ms


class TooLong(EngineError):
    """A query took longer than anyone should wait."""


class Rows(Protocol):
    """A store that can be asked. Queries have `?` for values and are the same for all."""

    name: str

    def read(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return what a query finds; JSON columns come as text.

        Raises:
            StoreError: the store is not there, or is none of ours.
            TooLong: it takes too long.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class SqliteRows:
    """The store of a run in one process, opened to be read only, also while the run writes."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened when it is first read, since the run may only make it."""
        self.path = path
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue()
        self._file = 0  # which one the connections are to: a store may be made anew

    def read(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return what a query finds, as `Rows.read`."""
        with self.opened() as store:
            return [dict(row) for row in store.execute(query, values)]

    def close(self) -> None:
        """Close what is idle."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Lend the store, to be read with the same patience and errors as by `read`."""
        try:
            file = self.path.stat().st_ino
        except OSError:
            file = 0
        if file != self._file:
            self.close()
            self._file = file
        try:
            store = self._idle.get_nowait()
        except Empty:
            store = open_store(self.path, readonly=True)
        end = time.monotonic() + PATIENCE_SECONDS
        store.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
        try:
            yield store
        except sqlite3.Error as error:
            store.close()
            if "interrupted" in str(error):
                raise TooLong("the query takes too long; ask for a shorter time") from error
            raise StoreError(f"{self.path} cannot be read now: {error}") from error
        except BaseException:
            store.close()
            raise
        if self._idle.qsize() < _POOL and file == self._file:
            self._idle.put(store)
        else:
            store.close()


class PostgresqlRows:
    """The cold store, read by transactions that may not write."""

    name = "postgresql"

    def __init__(self, settings: PostgresqlSettings, password: Secret) -> None:
        """Name the database; it is connected to when it is first read."""
        self.settings = settings
        self.password = password
        self._idle: LifoQueue[psycopg.Connection[Any]] = LifoQueue()

    def read(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return what a query finds, as `Rows.read`."""
        with self._connection() as store, store.cursor(row_factory=dict_row) as cursor:
            # The queries are ours, without a question mark in their texts.
            return list(cursor.execute(query.replace("?", "%s").encode(), values))

    def close(self) -> None:
        """Close what is idle."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            store = self._idle.get_nowait()
        except Empty:
            store = self._opened()
        try:
            yield store
        except psycopg.errors.QueryCanceled as error:
            store.close()
            raise TooLong("the query takes too long; ask for a shorter time") from error
        except psycopg.Error as error:
            store.close()
            self.close()  # the others may have lost their server, too
            raise StoreError(str(translated(error, self.settings))) from error
        except BaseException:
            store.close()
            raise
        if self._idle.qsize() < _POOL:
            self._idle.put(store)
        else:
            store.close()

    def _opened(self) -> psycopg.Connection[Any]:
        try:
            store = connect(self.settings, self.password)
        except StoreError:
            raise
        except EngineError as error:
            raise StoreError(str(error)) from error
        try:
            store.execute("SET default_transaction_read_only = on")
            store.execute(f"SET statement_timeout = {round(PATIENCE_SECONDS * 1000)}".encode())
        except psycopg.Error as error:
            store.close()
            raise StoreError(str(translated(error, self.settings))) from error
        set_json_loads(lambda text: text if isinstance(text, str) else text.decode(), store)
        return store
