"""Rows as the hot tier holds them: JSON objects by column names, and signals with a place.

What is JSON text in the other stores is JSON within the object, byte for byte. A float that is
not finite becomes null.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from redis import Redis

from connectors.secrets import redact
from connectors.sinks.tables import TABLES
from connectors.sinks.writers import Row, RowRefused

PAGE = 1000  # entries of the stream that are read at once
MILLISECOND = 1_000_000  # ns

_OBJECTS = {"reasons", "detail", "holdings", "risk"}  # columns that are JSON themselves
_NAMES = {"signal_id", "symbol"}  # which keys are made of
_EVER = 2**63

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def stream_key(prefix: str) -> str:
    """Return the key of the stream of signals."""
    return f"{prefix}:signals"


def signal_key(prefix: str, signal_id: str) -> str:
    """Return the key of one signal."""
    return f"{prefix}:signal:{signal_id}"


def encoded(table: str, row: Row) -> tuple[dict[str, Any], bytes]:
    """Return a row by its columns' names, and as JSON.

    Raises RowRefused for a row that is not one of `table`.
    """
    names = TABLES[table].names
    fields = dict(zip(names, row, strict=False))
    if len(names) != len(row):
        raise _refused(table, f"expected {len(names)} columns, found {len(row)}")
    ts_close = fields["ts_close"]
    if type(ts_close) is not int or not 0 <= ts_close < _EVER:
        raise _refused(table, "ts_close is no time")
    if not all(isinstance(fields[name], str) for name in _NAMES & fields.keys()):
        raise _refused(table, "an id or a symbol is no text")
    try:
        objects = {
            name: msgspec.json.decode(fields[name], type=msgspec.Raw)  # checked, and kept as it is
            for name in _OBJECTS & fields.keys()
        }
        return fields, _encode(fields | objects)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise _refused(table, str(error)) from error


def _refused(table: str, why: str) -> RowRefused:
    return RowRefused(f"redis cannot hold a row of {table}: {redact(why)}")


def place_of(symbol: str, ts_close: int) -> tuple[int, int]:
    """Return a signal's place in the stream: milliseconds of its bar's close, and its symbol.

    The symbol is read as a number by its first eight bytes, so that places of one close are
    ordered by symbol, whichever others are written with it. Where two symbols begin with the
    same eight bytes, the one written later stands behind the other.

    >>> place_of("BTCUSDT", 1_723_161_600_000_000_000)
    (1723161600000, 4779519138295206912)
    """
    first = symbol.encode()[:8].ljust(8, b"\0")
    return ts_close // MILLISECOND, int.from_bytes(first)


def read_signals(client: Redis, prefix: str = "nextgen") -> Iterator[Row]:
    """Yield all signals that are hot, as the rows that were written, in the stream's order.

    `client` is one of `open_client`.
    """
    start = "-"
    while True:
        page: Any = client.xrange(stream_key(prefix), min=start, count=PAGE)
        if not page:
            return
        found: Any = client.mget([signal_key(prefix, entry["signal_id"]) for _, entry in page])
        for text in found:
            if text is not None:  # it has expired
                yield row_of(text)
        start = f"({page[-1][0]}"


def row_of(text: str) -> Row:
    """Return the row that a signal's JSON was made of."""
    fields = _decode(text)
    return tuple(
        bytes(fields[name]).decode() if name in _OBJECTS else msgspec.json.decode(fields[name])
        for name in TABLES["signals"].names
    )
