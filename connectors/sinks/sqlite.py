"""The warm store as the end of the stream.

*At least once; rows are upserted by their identity*, so a repeated message is one row and
the delivery is effectively once.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.sinks.store import open_store, write_error
from connectors.sinks.tables import TABLES
from operators.messages import (
    SECOND,
    Bar,
    Checkpoint,
    Decision,
    Gap,
    Notice,
    Outcome,
    Portfolio,
    Rejection,
    Signal,
    Tally,
)

DAY = 86_400 * SECOND
MINUTE = 60 * SECOND
PAYLOAD_LIMIT = 65_536  # bytes of a rejected payload that are kept

type Row = tuple[Any, ...]

# Sorted keys: the same message is the same bytes, whatever order its dictionaries grew in.
_json = msgspec.json.Encoder(order="sorted", enc_hook=lambda value: value.tolist())


def _text(value: Any) -> str:
    return _json.encode(value).decode()


def _signal(message: Signal) -> Row:
    return (
        message.signal_id,
        message.symbol,
        message.ts_close,
        message.interval,
        str(message.action),
        float(message.score),
        float(message.confidence),
        float(message.target_position),
        int(message.approved),
        float(message.price),
        _text(message.reasons),
        _text(message.detail),
    )


def _portfolio(message: Portfolio) -> Row:
    return (
        message.ts_close,
        message.cash,
        message.equity,
        message.gross,
        message.net,
        message.drawdown,
        message.var_95,
        message.var_99,
        message.costs,
        message.trades,
        message.buy_and_hold,
        int(message.stopped),
        _text(message.holdings),
        _text(message.risk),
    )


def _plain(table: str) -> Callable[[Any], Row]:
    """Rows of messages whose fields are the table's columns."""
    names = TABLES[table].names

    def row(message: Any) -> Row:
        return tuple(getattr(message, name) for name in names)

    return row


def _rejection(message: Rejection) -> Row:
    kept: bytes | str = message.payload[:PAYLOAD_LIMIT]
    try:
        text = message.payload[:PAYLOAD_LIMIT].decode()
        if "\0" not in text:  # SQLite's own tools stop at the first NUL of a text
            kept = text
    except UnicodeDecodeError:
        pass
    # What was rejected may claim any time; SQLite's integers have 64 bits.
    ts_init = min(max(message.ts_init, 0), 2**63 - 1)
    return (message.offset, str(message.reason), message.symbol, ts_init, kept)


def _notice(message: Notice) -> Row:
    body = message.body
    return (message.offset, message.after, type(body).__name__, _text(body))


_bar, _outcome, _gap = _plain("bars"), _plain("outcomes"), _plain("gaps")
_checkpoint, _tally = _plain("checkpoints"), _plain("tallies")


def rows_of(message: Any) -> Iterator[tuple[str, Row]]:
    """Yield (table, row) for whatever of `message` is stored; nothing for other messages.

    >>> list(rows_of(Tally(key="BTCUSDT", name="open_trades", count=3)))
    [('tallies', ('BTCUSDT', 'open_trades', 3))]
    """
    match message:
        case Bar():
            yield "bars", _bar(message)
        case Decision():
            for signal in message.signals:
                yield "signals", _signal(signal)
            yield "portfolio", _portfolio(message.portfolio)
        case Outcome():
            yield "outcomes", _outcome(message)
        case Rejection():
            yield "rejections", _rejection(message)
        case Notice():
            yield "notices", _notice(message)
        case Gap():
            yield "gaps", _gap(message)
        case Checkpoint():
            yield "checkpoints", _checkpoint(message)
        case Tally():
            yield "tallies", _tally(message)
        case _:
            return


class _Partition(StatefulSinkPartition[Any, None]):
    def __init__(self, path: Path, *, keep: int | None) -> None:
        self.path = path
        self.keep = keep
        self.store = open_store(path)
        self.newest = 0  # event time of the newest bar stored by this process
        self.pruned = 0
        self.unsynced = False

    def write_batch(self, values: list[Any]) -> None:
        rows: defaultdict[str, list[Row]] = defaultdict(list)
        for value in values:
            for table, row in rows_of(value):
                rows[table].append(row)
        if not rows:
            return
        try:
            self._write(rows)
            self._prune(value.ts_close for value in values if isinstance(value, Bar))
        except (sqlite3.Error, OverflowError) as error:  # an integer over 64 bits is the latter
            raise write_error(self.path, error) from error

    def _write(self, rows: dict[str, list[Row]]) -> None:
        self.store.execute("BEGIN IMMEDIATE")
        try:
            for table, of_table in rows.items():
                self.store.executemany(TABLES[table].upsert, of_table)
            self.store.execute("COMMIT")
        except BaseException:
            if self.store.in_transaction:  # some errors, a full disk among them, roll back
                self.store.execute("ROLLBACK")
            raise
        self.unsynced = True

    def _prune(self, closes: Iterable[int]) -> None:
        """Drop, once a minute of event time, what is older than `keep`."""
        if self.keep is None:
            return
        self.newest = max(self.newest, *closes, 0)
        if self.newest - self.pruned < MINUTE:
            return
        self.pruned = self.newest
        for table in TABLES.values():
            if table.ages_by is not None:
                self.store.execute(
                    f"DELETE FROM {table.name} WHERE {table.ages_by} < ?",  # noqa: S608
                    (self.newest - self.keep,),
                )

    def snapshot(self) -> None:
        """Make what was written so far outlast a power cut, not only the end of the process.

        Recovery will not give it again. With WAL and synchronous=NORMAL a commit is not
        forced to disk; one small commit at FULL, an epoch, forces all before it.
        """
        if not self.unsynced:
            return
        try:
            self.store.execute("PRAGMA synchronous = FULL")
            self.store.execute(
                "INSERT INTO marks VALUES ('synced', 1) "
                "ON CONFLICT (name) DO UPDATE SET value = 1 - value"
            )
            self.store.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise write_error(self.path, error) from error
        self.unsynced = False

    def close(self) -> None:
        self.store.close()


class SqliteSink(FixedPartitionedSink[Any, None]):
    """Store signals, bars, portfolio, outcomes, rejections, gaps, notices and counts in SQLite.

    Takes `(key, message)` with any message of `operators.messages`; what has no table is
    passed over. One transaction a batch. Guarantee: *At least once; rows are upserted by
    their identity.* In live runs rows older than one day of event time are dropped; a
    replay keeps all.
    """

    def __init__(self, path: Path | str, *, live: bool = False) -> None:
        self.path = Path(path)
        self.keep = DAY if live else None

    def list_parts(self) -> list[str]:
        """One file, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """Open the store; there is no position to resume, since rows have identities."""
        return _Partition(self.path, keep=self.keep)
