"""The stores that can be read back, each as a tier that `compare` holds against the warm store."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import batched
from typing import Any, Protocol, Self

import msgspec
from redis.exceptions import RedisError

from connectors.secrets import Secret
from connectors.sinks.postgresql_connection import PostgresqlSettings, connect, translating
from connectors.sinks.postgresql_layout import LAYOUTS
from connectors.sinks.postgresql_partitions import DAY
from connectors.sinks.postgresql_reader import read_rows
from connectors.sinks.postgresql_writer import check_revision
from connectors.sinks.redis_rows import MILLISECOND, PAGE, row_of, signal_key, stream_key
from connectors.sinks.redis_writer import RedisSettings, RedisWriter, meaning, open_client
from connectors.sinks.sqlite import Row
from connectors.sinks.tables import TABLES

PATIENCE = 600.0  # seconds; a large table is sorted before its first row comes

_TS_CLOSE = TABLES["signals"].names.index("ts_close")
# What Redis holds beside signals, and by what: the newest row of each.
_NEWEST = {"bars": "symbol", "outcomes": "symbol", "portfolio": "simulated"}


class Tier(Protocol):
    """A store while it is open; errors are a writer's: StoreDown and StoreRefused."""

    name: str
    tables: tuple[str, ...]

    def __enter__(self) -> Self:
        """Connect."""

    def __exit__(self, *_: object) -> None:
        """Let go of the store."""

    def since(self, newest: int) -> int:
        """Return from which event time on it keeps rows, where `newest` is the last bar close."""

    def rows(self, table: str, since: int | None, until: int | None) -> Iterator[Row]:
        """Yield its rows of [since, until) in order of key; those without a time, too."""

    def expected(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield those of the warm store's rows that it should hold; called behind `rows`."""

    def repairs(self, warm: sqlite3.Connection, table: str, rows: Iterable[Row]) -> Iterator[Any]:
        """Yield (table, row) to write, and in what order, so that it holds `rows` of a table."""


class ColdTier:
    """PostgreSQL: every table that it keeps, for `keep_days`."""

    name = "postgresql"
    tables: tuple[str, ...] = tuple(LAYOUTS)

    def __init__(self, settings: PostgresqlSettings, password: Secret) -> None:
        """Connect to nothing yet."""
        self.settings = msgspec.structs.replace(settings, patience_seconds=PATIENCE)
        self.password = password
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            connection = connect(self.settings, self.password)
            self._connection = opened.enter_context(closing(connection))
            with translating(self.settings):
                check_revision(self._connection, self.settings)
            self._stack = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def since(self, newest: int) -> int:
        """Count `keep_days` back from the newest bar close."""
        return newest - self.settings.keep_days * DAY

    def rows(self, table: str, since: int | None, until: int | None) -> Iterator[Row]:
        """Yield its rows of [since, until) in order of key."""
        with translating(self.settings):
            yield from read_rows(self._connection, table, since=since, until=until)

    def expected(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield all rows."""
        yield from rows

    def repairs(self, warm: sqlite3.Connection, table: str, rows: Iterable[Row]) -> Iterator[Any]:  # noqa: ARG002
        """Yield rows as they come."""
        for row in rows:
            yield table, row


class HotTier:
    """Redis: signals of the last `keep_seconds`.

    The server itself lets a signal go that long after it was written, whatever event time says:
    a signal that stands in the stream and nowhere else has `expired`, and none is expected.
    """

    name = "redis"
    tables: tuple[str, ...] = ("signals",)

    def __init__(self, settings: RedisSettings, password: Secret | None) -> None:
        """Connect to nothing yet."""
        self.settings = settings
        self.password = password
        self.expired: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with closing(RedisWriter(self.settings, self.password)) as writer:
            writer.connect()  # checks the layout
        self._client = self._stack.enter_context(closing(open_client(self.settings, self.password)))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def since(self, newest: int) -> int:
        """Count `keep_seconds` back from the newest bar close, here or in the warm store."""
        with self._translating():
            last: Any = self._client.xrevrange(stream_key(self.settings.prefix), count=1)
        closes = [int(entry["ts_close"]) for _, entry in last]
        hour = self.settings.keep_seconds * 1000
        return (max([newest, *closes]) // MILLISECOND - hour + 1) * MILLISECOND

    def rows(self, table: str, since: int | None, until: int | None) -> Iterator[Row]:  # noqa: ARG002
        """Yield signals of [since, until) in order of their ids; only ids are held in memory."""
        prefix = self.settings.prefix
        with self._translating():
            ids = sorted(set(self._ids(since, until)))
            self.expired = set()
            for some in batched(ids, PAGE):
                with self._client.pipeline(transaction=False) as asked:
                    for signal_id in some:
                        asked.exists(signal_key(prefix, signal_id))
                    there: Any = asked.execute()
                self.expired |= {one for one, is_so in zip(some, there, strict=True) if not is_so}
        return self._read([one for one in ids if one not in self.expired])

    def expected(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield rows but of signals that have expired."""
        return (row for row in rows if row[0] not in self.expired)

    def repairs(self, warm: sqlite3.Connection, table: str, rows: Iterable[Row]) -> Iterator[Any]:
        """Yield signals in order of time, as the stream has them, and the newest of the rest."""
        wanted = {row[0]: row[_TS_CLOSE] for row in rows}
        if not wanted:
            return
        names = ", ".join(TABLES[table].names)
        query = f"SELECT {names} FROM {table} WHERE ts_close >= ? ORDER BY ts_close, symbol"  # noqa: S608 - ours
        for row in warm.execute(query, (min(wanted.values()),)):
            if row[0] in wanted:
                yield table, tuple(row)
        for other, by in _NEWEST.items():
            columns = TABLES[other].names
            # The other columns are those of the row with the maximum: SQLite says so.
            query = f"SELECT {', '.join(columns)}, max(ts_close) FROM {other} GROUP BY {by}"  # noqa: S608 - ours
            for row in warm.execute(query):
                yield other, tuple(row)[:-1]

    def _ids(self, since: int | None, until: int | None) -> Iterator[str]:
        start = "-"
        while page := self._page(start):
            for _, entry in page:
                ts_close = int(entry["ts_close"])
                if (since is None or since <= ts_close) and (until is None or ts_close < until):
                    yield entry["signal_id"]
            start = f"({page[-1][0]}"

    def _page(self, start: str) -> Any:
        return self._client.xrange(stream_key(self.settings.prefix), min=start, count=PAGE)

    def _read(self, ids: list[str]) -> Iterator[Row]:
        with self._translating():
            for some in batched(ids, PAGE):
                keys = [signal_key(self.settings.prefix, signal_id) for signal_id in some]
                found: Any = self._client.mget(keys)
                yield from (row_of(text) for text in found if text is not None)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            place = f"redis at {self.settings.host}:{self.settings.port}"
            raise meaning(error, place) from error
