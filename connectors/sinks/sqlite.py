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

from connectors.sinks.retention import forget
from connectors.sinks.store import open_store, transaction, write_error
from connectors.sinks.tables import TABLES
from operators.messages import (
    SECOND,
    Alert,
    Bar,
    Checkpoint,
    Decision,
    Gap,
    Hole,
    Notice,
    Outcome,
    Portfolio,
    Rejection,
    Repaired,
    Signal,
    Switch,
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


def _signal(message: Signal, simulated: int) -> Row:
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
        simulated,
    )


def _portfolio(message: Portfolio, simulated: int) -> Row:
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
        simulated,
    )


def _plain(table: str, **renamed: str) -> Callable[..., Row]:
    """Rows of messages whose fields are the table's first columns; what is `given` follows."""
    names = [renamed.get(name, name) for name in TABLES[table].names]
    apart = {"known_at", "simulated"}  # not of the message
    fields = [name for name in names if name not in apart]

    def row(message: Any, *given: int) -> Row:
        return (*(getattr(message, name) for name in fields), *given)

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


def _outcome(message: Outcome, simulated: int) -> Row:
    *known, hit = _judged(message)
    return (*known, None if hit is None else int(hit), simulated)


def alert_row(message: Alert, simulated: int) -> Row:
    """Return a row of `alerts` or `process_alerts`."""
    return (
        message.fingerprint,
        message.ts_event,
        str(message.state),
        message.alert_id,
        message.rule,
        str(message.severity),
        message.subject,
        message.summary,
        _text(message.facts),
        message.since,
        simulated,
    )


_bar, _judged, _gap = _plain("bars"), _plain("outcomes"), _plain("gaps")
_hole = _plain("holes", log_offset="offset")
_switch = _plain("switches", log_offset="offset")
_checkpoint, _tally = _plain("checkpoints"), _plain("tallies")


# Rows that say whether the market was simulated, and rows of what came in.
_RESULTS: dict[type, tuple[str, Callable[..., Row]]] = {
    Alert: ("alerts", alert_row),
    Bar: ("bars", _bar),
    Outcome: ("outcomes", _outcome),
    Portfolio: ("portfolio", _portfolio),
    Signal: ("signals", _signal),
}
_RECORDS: dict[type, tuple[str, Callable[..., Row]]] = {
    Rejection: ("rejections", _rejection),
    Notice: ("notices", _notice),
    Gap: ("gaps", _gap),
    Hole: ("holes", _hole),
    Switch: ("switches", _switch),
    Checkpoint: ("checkpoints", _checkpoint),
    Tally: ("tallies", _tally),
}


def rows_of(message: Any, *, simulated: bool = False) -> Iterator[tuple[str, Row]]:
    """Yield (table, row) for whatever of `message` is stored; nothing for other messages.

    >>> list(rows_of(Tally(key="BTCUSDT", name="open_trades", count=3)))
    [('tallies', ('BTCUSDT', 'open_trades', 3))]
    """
    kind = type(message)
    if kind in _RECORDS:
        table, row = _RECORDS[kind]
        yield table, row(message)
    elif kind in _RESULTS:
        table, row = _RESULTS[kind]
        yield table, row(message, int(simulated))
    elif kind is Repaired:
        for bar in message.bars:
            yield "repaired_bars", _bar(bar, message.known_at, int(simulated))
    elif kind is Decision:
        for each in (*message.signals, message.portfolio):
            yield from rows_of(each, simulated=simulated)


class _Partition(StatefulSinkPartition[Any, None]):
    def __init__(
        self, path: Path, *, keep: int | None, proven: Callable[[], int] | None, simulated: bool
    ) -> None:
        self.path = path
        self.keep = keep
        self.proven = proven
        self.simulated = simulated
        self.store = open_store(path)
        self.newest = 0  # event time of the newest bar stored by this process
        self.pruned = 0
        self.unsynced = False
        try:
            self.store.execute("UPDATE runs SET simulated = ?", (int(simulated),))
        except sqlite3.Error as error:
            raise write_error(path, error) from error

    def write_batch(self, values: list[Any]) -> None:
        rows: defaultdict[str, list[Row]] = defaultdict(list)
        for value in values:
            for table, row in rows_of(value, simulated=self.simulated):
                rows[table].append(row)
        if not rows:
            return
        try:
            self._write(rows)
            self._prune(value.ts_close for value in values if isinstance(value, Bar))
        except (sqlite3.Error, OverflowError) as error:  # an integer over 64 bits is the latter
            raise write_error(self.path, error) from error

    def _write(self, rows: dict[str, list[Row]]) -> None:
        with transaction(self.store):
            for table, of_table in rows.items():
                self.store.executemany(TABLES[table].upsert, of_table)
        self.unsynced = True

    def _prune(self, closes: Iterable[int]) -> None:
        """Drop, once a minute of event time, what is older than `keep`.

        Where there is a cold store, the age counts from what that has: a row that came up to
        `keep` late, as repaired bars and outcomes do, is not dropped before it is there, too.
        """
        if self.keep is None:
            return
        self.newest = max(self.newest, *closes, 0)
        if self.newest - self.pruned < MINUTE:
            return
        self.pruned = self.newest
        with transaction(self.store):
            proven = None if self.proven is None else self.proven() - self.keep
            forget(self.store, self.newest - self.keep, proven)

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
    """Store decisions, what they were made on, and what was lost or refused, in SQLite.

    Takes `(key, message)` with any message of `operators.messages`; what has no table is
    passed over. One transaction a batch. Guarantee: *At least once; rows are upserted by
    their identity.* In live runs rows older than one day of event time are dropped; a
    replay keeps all. `proven` tells up to which bar close (ns) a cold store has taken every
    row: the day then counts back from there. `simulated` says that the market is a
    simulator's; it stands in the rows and in the run's.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        live: bool = False,
        proven: Callable[[], int] | None = None,
        simulated: bool = False,
    ) -> None:
        self.path = Path(path)
        self.keep = DAY if live else None
        self.proven = proven
        self.simulated = simulated

    def list_parts(self) -> list[str]:
        """One file, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """Open the store; there is no position to resume, since rows have identities."""
        return _Partition(self.path, keep=self.keep, proven=self.proven, simulated=self.simulated)
