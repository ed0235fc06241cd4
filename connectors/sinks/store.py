"""Open the warm store, a SQLite file, and read it back as messages."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from connectors.sinks.tables import APPLICATION_ID, TABLES, VERSION
from operators.errors import StoreError
from operators.messages import (
    Bar,
    Control,
    Headline,
    Holding,
    Mood,
    Notice,
    Portfolio,
    ScoredHeadline,
    Signal,
)

BUSY_MS = 10_000  # how long to wait for another writer, or for a reader's checkpoint

_BODIES: dict[str, type[Headline | ScoredHeadline | Mood | Control]] = {
    kind.__name__: kind for kind in (Headline, ScoredHeadline, Mood, Control)
}


def open_store(path: Path | str, *, readonly: bool = False) -> sqlite3.Connection:
    """Open the store at `path`, making it where it is absent (unless `readonly`).

    Rows come as `sqlite3.Row`; transactions are the caller's (`BEGIN` … `COMMIT`).

    Raises:
        StoreError: it is absent, no store of ours, of another version, or not accessible.
    """
    path = Path(path)
    if readonly and not path.is_file():
        raise StoreError(f"expected a store at {path}, found {_what(path)}; run 'nextgen replay' "
                         "with --store to make one")  # fmt: skip
    if path.is_dir():
        raise StoreError(f"expected a file for the store at {path}, found a folder")
    try:
        if not readonly:
            path.parent.mkdir(parents=True, exist_ok=True)
        return _reading(path) if readonly else _writing(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be used as a store: {_why(error)}") from error


def _what(path: Path) -> str:
    return "a folder" if path.is_dir() else "nothing"


def _why(error: Exception) -> str:
    """Put SQLite's words into ours, with what to do."""
    text = str(error)
    for words, plain in (
        ("not a database", "it is no SQLite file; name another one with --store"),
        ("malformed", "the file is damaged; remove it or name another one with --store"),
        ("readonly", "it may not be written; check its permissions"),
        ("unable to open", "it cannot be opened; check the folder and its permissions"),
        ("full", "the disk is full; make room and start again, the run will resume"),
        ("locked", "another process is writing to it; wait for it, or name another file"),
    ):
        if words in text:
            return f"{plain} ({text})"
    return text


def _writing(path: Path) -> sqlite3.Connection:
    store = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        store.row_factory = sqlite3.Row
        store.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        _refuse_strangers(store, path)
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA synchronous = NORMAL")
        # 32 MB: moving pages from the log to the file is forced to disk, so do it seldom.
        store.execute("PRAGMA wal_autocheckpoint = 8000")
        store.execute("BEGIN IMMEDIATE")
        for table in TABLES.values():
            for statement in table.ddl.rstrip(";").split(";"):
                store.execute(statement)
        store.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        store.execute(f"PRAGMA user_version = {VERSION}")
        store.execute("COMMIT")
    except BaseException:
        store.close()
        raise
    return store


def _reading(path: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        return _checked(address, path)
    except sqlite3.OperationalError:
        # WAL needs its side files; in a folder that may not be written they cannot be made.
        return _checked(f"{address}&immutable=1", path)


def _checked(address: str, path: Path) -> sqlite3.Connection:
    store = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    try:
        store.row_factory = sqlite3.Row
        store.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        _refuse_strangers(store, path, empty_is_ours=False)
    except BaseException:
        store.close()
        raise
    return store


def _refuse_strangers(store: sqlite3.Connection, path: Path, *, empty_is_ours: bool = True) -> None:
    found = store.execute("PRAGMA application_id").fetchone()[0]
    tables = store.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not tables and not found and empty_is_ours:
        return
    if found != APPLICATION_ID:
        raise StoreError(f"{path} is a SQLite file of another program, no store of this engine; "
                         "name another one with --store")  # fmt: skip
    version = store.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        raise StoreError(f"{path} has layout {version}, this engine expects {VERSION}; "
                         "name another file with --store")  # fmt: skip


def path_of(store: sqlite3.Connection) -> Path:
    """Return the file behind an open store."""
    return Path(store.execute("PRAGMA database_list").fetchone()["file"])


def write_error(path: Path | str, error: Exception) -> StoreError:
    """Say in one sentence why a store could not be written."""
    return StoreError(f"{path} could not be written: {_why(error)}")


def read_signals(store: sqlite3.Connection) -> Iterator[Signal]:
    """Yield all signals in canonical order: by bar close, then symbol."""
    for row in store.execute("SELECT * FROM signals ORDER BY ts_close, symbol, signal_id"):
        yield _signal(row)


def read_signal(store: sqlite3.Connection, signal_id: str) -> Signal | None:
    """Return one signal, or None."""
    row = store.execute("SELECT * FROM signals WHERE signal_id = ?", (signal_id,)).fetchone()
    return None if row is None else _signal(row)


def _signal(row: sqlite3.Row) -> Signal:
    fields = dict(row)
    fields["approved"] = bool(fields["approved"])
    fields["reasons"] = json.loads(fields["reasons"])
    fields["detail"] = json.loads(fields["detail"])
    return msgspec.convert(fields, Signal)


def read_bars(
    store: sqlite3.Connection, symbol: str, *, until: int, count: int | None = None
) -> list[Bar]:
    """Return `symbol`'s bars that close by `until`, oldest first: the last `count`, or all."""
    rows = store.execute(
        "SELECT * FROM bars WHERE symbol = ? AND ts_close <= ? ORDER BY ts_close DESC LIMIT ?",
        (symbol, until, -1 if count is None else count),
    ).fetchall()
    return [msgspec.convert(dict(row), Bar) for row in reversed(rows)]


def read_notices(store: sqlite3.Connection, *, before: int) -> list[Notice]:
    """Return what a cross-section closing at `before` may know, in the log's order."""
    rows = store.execute(
        "SELECT * FROM notices WHERE after < ? ORDER BY log_offset", (before,)
    ).fetchall()
    return [
        Notice(
            after=row["after"],
            offset=row["log_offset"],
            body=msgspec.json.decode(row["body"], type=_BODIES[row["kind"]]),
        )
        for row in rows
    ]


def read_portfolios(
    store: sqlite3.Connection, *, since: int = 0, until: int = 2**63 - 1
) -> Iterator[Portfolio]:
    """Yield the paper portfolio after each decision in [since, until], oldest first."""
    for row in store.execute(
        "SELECT * FROM portfolio WHERE ts_close BETWEEN ? AND ? ORDER BY ts_close", (since, until)
    ):
        fields: dict[str, Any] = dict(row)
        fields["stopped"] = bool(fields["stopped"])
        fields["holdings"] = tuple(
            msgspec.convert(each, Holding) for each in json.loads(fields["holdings"])
        )
        fields["risk"] = json.loads(fields["risk"])
        yield msgspec.convert(fields, Portfolio)


def read_checkpoint(
    store: sqlite3.Connection, stage: str, *, before: int
) -> tuple[int, bytes] | None:
    """Return the stage's last checkpoint that closes before `before`: (ts_close, state)."""
    row = store.execute(
        "SELECT ts_close, state FROM checkpoints WHERE stage = ? AND ts_close < ? "
        "ORDER BY ts_close DESC LIMIT 1",
        (stage, before),
    ).fetchone()
    return None if row is None else (row["ts_close"], row["state"])
