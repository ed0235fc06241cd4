"""The way into a run in one process for operators' orders: a SQLite file beside its store.

The API writes orders, the run takes them, and tells how it does. At scale Kafka's topic `control`
stands in the place of this.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from operators.errors import StoreError
from operators.messages import Control

BUSY_SECONDS = 5.0  # to wait for the other side's write
_APPLICATION_ID = 0x4E58434C  # "NXCL"
_MADE = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL,
    taken_at INTEGER, log_offset INTEGER);
CREATE TABLE IF NOT EXISTS pulses (name TEXT PRIMARY KEY, at INTEGER NOT NULL, body TEXT NOT NULL);
"""


class Order(NamedTuple):
    """An order as the inlet holds it."""

    number: int  # in the order of posting
    payload: bytes  # JSON of a Control, as it enters the log
    taken_at: int | None  # when the run had it for good, ns
    log_offset: int | None  # its place in a replay's log


class Pulse(NamedTuple):
    """What a run last told of itself, and when (ns, this machine's clock)."""

    at: int
    body: dict[str, Any]


def inlet_folder(store: Path | str) -> Path:
    """Return where the inlet of the run stored at `store` is."""
    return Path(f"{store}.control")


class Inlet:
    """Orders on their way into a run; what `post` returned from is on disk.

    Each process, or thread, opens its own.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        """Open the inlet in `folder`, making it where it is absent.

        What is written without `durable` may be lost in a power cut: enough for pulses.

        Raises:
            StoreError: it cannot be opened, or another program's file is there.
        """
        self.path = folder / "orders.sqlite3"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
            )
            try:
                self._prepare("FULL" if durable else "NORMAL")
            except BaseException:
                self._rows.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"{self.path} cannot be used for orders: {error}; check the folder and its "
                "permissions"
            ) from error

    def _prepare(self, synchronous: str) -> None:
        found = self._rows.execute("PRAGMA application_id").fetchone()[0]
        if found not in {0, _APPLICATION_ID}:
            raise StoreError(f"{self.path} is another program's file; move it away")
        self._rows.execute("PRAGMA journal_mode = WAL")
        self._rows.execute(f"PRAGMA synchronous = {synchronous}")
        if not found:
            self._rows.executescript(f"PRAGMA application_id = {_APPLICATION_ID}; {_MADE}")

    def __enter__(self) -> Self:
        """Return the inlet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def post(self, order: Control) -> None:
        """Hand an order in, under its id.

        Raises:
            StoreError: it could not be written, so that the run will not see it.
        """
        payload = msgspec.json.encode(order, order="sorted").decode()
        self._write("INSERT INTO orders (id, body) VALUES (?, ?)", [(order.id, payload)])

    def fresh(self) -> list[Order]:
        """Return what no run has taken yet, oldest first."""
        return self._orders("taken_at IS NULL")

    def placed(self) -> list[Order]:
        """Return what stands in a replay's log, by its place."""
        return self._orders("log_offset IS NOT NULL")

    def all(self) -> list[Order]:
        """Return every order since the run began, oldest first."""
        return self._orders("TRUE")

    def _orders(self, condition: str) -> list[Order]:
        query = (  # conditions are the constants above
            "SELECT number, body, taken_at, log_offset FROM orders "  # noqa: S608
            f"WHERE {condition} ORDER BY number"
        )
        return [
            Order(number, body.encode(), taken_at, offset)
            for number, body, taken_at, offset in self._rows.execute(query)
        ]

    def take(self, numbers: Sequence[int], log_offset: int | None = None) -> None:
        """Note that the run has these orders; the first stands at `log_offset` if that is given.

        Raises:
            StoreError: it could not be written; they come again.
        """
        now = time.time_ns()
        self._write(
            "UPDATE orders SET taken_at = ?, log_offset = ? WHERE number = ?",
            [
                (now, None if log_offset is None else log_offset + index, number)
                for index, number in enumerate(numbers)
            ],
        )

    def clear(self) -> None:
        """Forget every order: another run begins, and they were not given to it."""
        self._write("DELETE FROM orders", [()])
        self._write("DELETE FROM pulses", [()])

    def beat(self, name: str, body: Mapping[str, Any]) -> None:
        """Tell how the run does."""
        self._write(
            "INSERT INTO pulses VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
            "at = excluded.at, body = excluded.body",
            [(name, time.time_ns(), msgspec.json.encode(body).decode())],
        )

    def pulse(self, name: str) -> Pulse | None:
        """Return what the run last told of itself, or None."""
        row = self._rows.execute("SELECT at, body FROM pulses WHERE name = ?", (name,)).fetchone()
        return None if row is None else Pulse(row[0], msgspec.json.decode(row[1]))

    def _write(self, statement: str, values: Sequence[tuple[Any, ...]]) -> None:
        try:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                self._rows.executemany(statement, values)
                self._rows.execute("COMMIT")
            except BaseException:
                if self._rows.in_transaction:
                    self._rows.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} could not be written: {error}") from error
