"""Stored rows as entries of the output topics, and back: the same tuples, JSON byte for byte.

An entry's value is a JSON object by the names of the table's columns. What the store keeps as
JSON text stands in it as it is. Bytes are base64. Floats that are no number become null.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from connectors.kafka.topics import ALERTS, DEAD_LETTERS, OUTCOMES, PORTFOLIO, RECORDS, SIGNALS
from connectors.kafka.wire import PAYLOAD_KEPT, Entry, Outgoing
from connectors.sinks.sqlite import Row, rows_of
from connectors.sinks.tables import TABLES, Table
from operators.messages import Reason, Rejection

VERSION = "1"  # of these forms: a changed column changes it

# Columns of text that is JSON.
JSON_COLUMNS: dict[str, frozenset[str]] = {
    "signals": frozenset({"reasons", "detail"}),
    "portfolio": frozenset({"holdings", "risk"}),
    "notices": frozenset({"body"}),
    "alerts": frozenset({"facts"}),
    "feeds": frozenset({"counts", "gauges"}),
}
_TOPICS = {
    "signals": SIGNALS.name,
    "portfolio": PORTFOLIO.name,
    "outcomes": OUTCOMES.name,
    "rejections": DEAD_LETTERS.name,
    "alerts": ALERTS.name,
}
_KINDS: dict[str, Any] = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}


class RecordError(ValueError):
    """An entry of an output topic that holds no row."""


def columns(table: Table) -> dict[str, tuple[str, bool]]:
    """Return the columns that a row gives: name to SQL type and whether it may be NULL.

    >>> columns(TABLES["tallies"])
    {'key': ('TEXT', False), 'name': ('TEXT', False), 'count': ('INTEGER', True)}
    """
    words = (column.split() for column in table.columns.split(","))
    named = {each[0]: each[1:] for each in words}
    return {
        name: (named[name][0] if named[name] else "", "NOT" not in named[name])
        for name in table.names
    }


@cache
def _names(table: str) -> tuple[str, ...]:
    return TABLES[table].names


@cache
def _decoder(table: str) -> Callable[[bytes], Any]:
    """Return what reads an object of `table`: strictly typed, JSON columns untouched."""
    fields: list[Any] = []
    for name, (kind, nullable) in columns(TABLES[table]).items():
        if name in JSON_COLUMNS.get(table, ()):
            fields.append((name, msgspec.Raw))
        elif not kind:  # a payload: text or bytes
            fields += [(name, str | None, None), (f"{name}_base64", bytes | None, None)]
        else:
            fields.append((name, _KINDS[kind] | None if nullable else _KINDS[kind]))
    return msgspec.json.Decoder(msgspec.defstruct(table, fields, kw_only=True)).decode


_encode = msgspec.json.Encoder().encode


def outgoing_of(table: str, row: Row) -> Outgoing:
    """Return a row as an entry of its topic; the key is its symbol, or the row's own.

    >>> sent = outgoing_of("tallies", ("BTCUSDT", "open_trades", 3))
    >>> sent.topic, sent.key, sent.value
    ('records', b'BTCUSDT', b'{"key":"BTCUSDT","name":"open_trades","count":3}')
    """
    fields: dict[str, Any] = dict(zip(_names(table), row, strict=True))
    key = _key(table, fields)
    for name in JSON_COLUMNS.get(table, ()):
        fields[name] = msgspec.Raw(fields[name].encode())
    if table == "rejections" and isinstance(fields["payload"], bytes):
        fields["payload_base64"] = fields.pop("payload")
    return Outgoing(
        topic=_TOPICS.get(table, RECORDS.name),
        type=table,
        value=_encode(fields),
        key=key.encode(),
        version=VERSION,
    )


def _key(table: str, fields: dict[str, Any]) -> str:
    if table == "portfolio":
        return table  # one partition, so that the latest is the last
    return str(fields.get("symbol") or fields[TABLES[table].key.split(", ")[0]])


def row_of(entry: Entry) -> tuple[str, Row]:
    """Return the table and row that an entry of an output topic holds.

    Raises:
        RecordError: its type, version or shape is none of ours.
    """
    if entry.type not in TABLES or entry.version != VERSION or entry.value is None:
        raise RecordError(f"no row is of type {entry.type!r}, version {entry.version!r}")
    try:
        found = _decoder(entry.type)(entry.value)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"no row of {entry.type}: {error}") from error
    return entry.type, tuple(_value(found, name) for name in _names(entry.type))


def _value(found: Any, name: str) -> Any:
    value = getattr(found, name)
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    return getattr(found, f"{name}_base64", None) if value is None else value


def refused_row(entry: Entry) -> tuple[str, Row]:
    """Return the row that tells of an entry which holds none, so that nothing is lost unseen."""
    rejection = Rejection(
        reason=Reason.BAD_TYPE,
        payload=(entry.value or b"")[:PAYLOAD_KEPT],
        ts_init=entry.ts_init,
        offset=entry.offset,
    )
    return next(rows_of(rejection))
