"""The cold store's tables in PostgreSQL, derived from those of the warm store.

The tables themselves are made by the migrations, which never change once they are published;
a test holds them equal to what stands here. Differences to the warm store:

- A table is partitioned by day on the column it ages by, if no row is without that time. It
  then stands in the key, as PostgreSQL wants it; a row's identity fixes its time, so that no
  row gets another identity by it.
- `payload`, which is text or bytes and may be longer than an index takes, is stored as bytes, a
  flag that says which of the two it was, and the SHA-256 that stands in the key.
- JSON is of type `json`, which keeps the text as it was written, byte for byte.
- Text sorts by its bytes (collation C), as in the warm store, whatever the server's locale.
"""

from dataclasses import dataclass

from connectors.sinks.tables import TABLES, Table
from connectors.sinks.writers import Row

REVISION = "0002"  # the newest migration's; numbers rise, so that earlier ones can be told

TEXT, INTEGER, REAL, BYTES, FLAG, JSON = "text", "int8", "float8", "bytea", "bool", "json"

_TYPES = {"TEXT": TEXT, "INTEGER": INTEGER, "REAL": REAL, "BLOB": BYTES}
_JSON = {
    ("signals", "reasons"),
    ("signals", "detail"),
    ("portfolio", "holdings"),
    ("portfolio", "risk"),
    ("notices", "body"),
    ("alerts", "facts"),
}
# How the run, its process and feeds do, whom it told, and the warm store's own marks: nothing
# to keep for years.
_NOT_KEPT = {"feeds", "runs", "marks", "forgotten"} | {
    "process_alerts",
    "deliveries",
    "routed_alerts",
    "silences",
    "acknowledgements",
}

EITHER = "payload"  # the column that holds text or bytes
IS_TEXT, HASH = "payload_is_text", "payload_hash"


@dataclass(frozen=True)
class Column:
    """One column: its name, PostgreSQL's name of its type, and whether it takes no null."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class Layout:
    """One table of the cold store.

    >>> bars = LAYOUTS["bars"]
    >>> bars.key, bars.partitioned_by
    (('symbol', 'ts_close'), 'ts_close')
    >>> LAYOUTS["signals"].key
    ('signal_id', 'ts_close')
    >>> LAYOUTS["holes"].partitioned_by is None  # open ones have no time to age by
    True
    """

    table: Table
    columns: tuple[Column, ...]  # those that are written, in order

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def partitioned_by(self) -> str | None:
        """The column that partitions are made on, or None where the table is whole."""
        ages_by = self.table.ages_by
        return ages_by if any(c.name == ages_by and c.required for c in self.columns) else None

    @property
    def identity(self) -> tuple[str, ...]:
        """Names of the values of a row by which it is told from others."""
        names = tuple(self.table.key.split(", "))
        apart = self.partitioned_by
        return names if apart is None or apart in names else (*names, apart)

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the primary key."""
        names: list[str] = []
        for name in self.identity:
            names += [HASH, IS_TEXT] if name == EITHER else [name]
        return tuple(names)

    def values(self, row: Row) -> Row:
        """Return what is written of a row as the warm store has it."""
        if EITHER not in self.identity:
            return row
        at = self.table.names.index(EITHER)
        payload = row[at]
        is_text = isinstance(payload, str)
        return (*row[:at], payload.encode() if is_text else payload, is_text, *row[at + 1 :])

    def row(self, values: Row) -> Row:
        """Return the row that was written as `values`."""
        if EITHER not in self.identity:
            return values
        at = self.table.names.index(EITHER)
        payload, is_text = values[at : at + 2]
        return (*values[:at], payload.decode() if is_text else payload, *values[at + 2 :])


def _layout(table: Table) -> Layout:
    columns: list[Column] = []
    for column in table.columns.split(","):
        name, *words = column.split()
        if not words:
            columns += [Column(name, BYTES, required=True), Column(IS_TEXT, FLAG, required=True)]
            continue
        kind = JSON if (table.name, name) in _JSON else _TYPES[words[0]]
        columns.append(Column(name, kind, required="NOT NULL" in column))
    return Layout(table, tuple(columns))


LAYOUTS: dict[str, Layout] = {
    name: _layout(table) for name, table in TABLES.items() if name not in _NOT_KEPT
}
