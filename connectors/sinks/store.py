"""Open the warm store, a SQLite file, and read it back as messages."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from connectors.sinks.tables import APPLICATION_ID, TABLES, VERSION, VIEWS
from operators.errors import StoreError
from operators.messages import (
    Bar,
    Control,
    Headline,
    Holding,
    Mood,
    Notice,
    Portfolio,
    Repaired,
    ScoredHeadline,
    Signal,
)

_EVER = 2**63 - 1  # SQLite's largest integer
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
        for name, query in VIEWS.items():
            store.execute(f"CREATE VIEW IF NOT EXISTS {name} AS {query}")
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
        raise StoreError(f"{path} has layout {version}, this engine expects {VERSION}: another "
                         "version made it; name another file with --store, or remove it and "
                         "replay again")  # fmt: skip


def path_of(store: sqlite3.Connection) -> Path:
    """Return the file behind an open store."""
    return Path(store.execute("PRAGMA database_list").fetchone()["file"])


@contextmanager
def transaction(store: sqlite3.Connection) -> Iterator[None]:
    """Write all that the block writes, or nothing of it."""
    store.execute("BEGIN IMMEDIATE")
    try:
        yield
        store.execute("COMMIT")
    except BaseException:
        if store.in_transaction:  # some errors, a full disk among them, roll back
            store.execute("ROLLBACK")
        raise


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
    store: sqlite3.Connection,
    symbol: str,
    *,
    until: int,
    since: int = 0,
    count: int | None = None,
    known_at: int | None = None,
) -> list[Bar]:
    """Return `symbol`'s bars that close in [since, until], oldest first: the last `count`, or all.

    They are as they closed, or with `known_at` as the cross-section of that time knew them.
    """
    rows = store.execute(
        "SELECT * FROM bars WHERE symbol = ? AND ts_close BETWEEN ? AND ? "
        "ORDER BY ts_close DESC LIMIT ?",
        (symbol, since, until, -1 if count is None else count),
    ).fetchall()
    bars = [_bar(row) for row in reversed(rows)]
    if known_at is None:
        return bars
    known = {bar.ts_close: bar for bar in bars}
    # Below a full count nothing is wanted; else a time that had no bar then may have one now.
    if bars and len(bars) == count:
        since = bars[0].ts_close
    for repaired in read_repairs(store, symbol, since=since, until=until, known_until=known_at):
        known |= {bar.ts_close: bar for bar in repaired.bars}
    latest = [known[ts_close] for ts_close in sorted(known)]
    return latest if count is None else latest[max(len(latest) - count, 0) :]


def read_repairs(
    store: sqlite3.Connection,
    symbol: str,
    *,
    since: int = 0,
    until: int = _EVER,
    known_after: int = -1,
    known_until: int = _EVER,
) -> list[Repaired]:
    """Return the later forms of `symbol`'s bars, in the order in which they became known.

    Of bars that close in [since, until], and of forms known in (known_after, known_until].
    """
    rows = store.execute(
        "SELECT * FROM repaired_bars WHERE symbol = ? AND ts_close BETWEEN ? AND ? "
        "AND known_at > ? AND known_at <= ? ORDER BY known_at, ts_close",
        (symbol, since, until, known_after, known_until),
    )
    return [
        Repaired(symbol=symbol, known_at=known_at, bars=tuple(_bar(row) for row in group))
        for known_at, group in groupby(rows, key=lambda row: row["known_at"])
    ]


def _bar(row: sqlite3.Row) -> Bar:
    return msgspec.convert(dict(row), Bar)


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
    store: sqlite3.Connection, *, since: int = 0, until: int = _EVER
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
