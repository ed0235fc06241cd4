"""The warm store's tables: one place from which both DDL and upserts are written.

Every row has an identity (its primary key), so a message delivered twice is one row. Times
are UNIX nanoseconds UTC; JSON columns are written with sorted keys, so that repeated writes
are byte-identical.
"""

from dataclasses import dataclass

APPLICATION_ID = 0x4E585447  # "NXTG": tells our stores from other SQLite files
VERSION = 1  # of this layout; a store of another version is refused


@dataclass(frozen=True)
class Table:
    """One table: its columns in the order rows are given, and the key that identifies a row.

    >>> Table("marks", "name TEXT, value INTEGER", "name").upsert
    'INSERT INTO marks VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value'
    """

    name: str
    columns: str
    key: str
    ages_by: str | None = None  # the time column that retention looks at
    index: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Column names, in order."""
        return tuple(column.split()[0] for column in self.columns.split(","))

    @property
    def ddl(self) -> str:
        """Statements that make the table where it is absent."""
        made = f"CREATE TABLE IF NOT EXISTS {self.name} ({self.columns}, PRIMARY KEY ({self.key}));"
        if self.index is None:
            return made
        named = f"{self.name}_by_{self.index.replace(', ', '_')}"
        return f"{made} CREATE INDEX IF NOT EXISTS {named} ON {self.name} ({self.index});"

    @property
    def upsert(self) -> str:
        """Write one row, replacing what stood under its key."""
        marks = ", ".join("?" * len(self.names))
        keys = self.key.split(", ")
        rest = ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in keys)
        return (  # names and keys are the constants below
            f"INSERT INTO {self.name} VALUES ({marks}) "  # noqa: S608
            f"ON CONFLICT ({self.key}) DO UPDATE SET {rest}"
        )


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "signals",
            "signal_id TEXT NOT NULL, symbol TEXT NOT NULL, ts_close INTEGER NOT NULL,"
            " interval INTEGER NOT NULL, action TEXT NOT NULL, score REAL, confidence REAL,"
            " target_position REAL, approved INTEGER NOT NULL, price REAL,"
            " reasons TEXT NOT NULL, detail TEXT NOT NULL",  # JSON both
            "signal_id",
            ages_by="ts_close",
            index="ts_close, symbol",
        ),
        Table(
            "portfolio",
            "ts_close INTEGER NOT NULL, cash REAL, equity REAL, gross REAL, net REAL,"
            " drawdown REAL, var_95 REAL, var_99 REAL, costs REAL, trades INTEGER,"
            " buy_and_hold REAL, stopped INTEGER, holdings TEXT NOT NULL, risk TEXT NOT NULL",
            "ts_close",
            ages_by="ts_close",
        ),
        Table(
            "outcomes",
            "signal_id TEXT NOT NULL, symbol TEXT NOT NULL, ts_close INTEGER NOT NULL,"
            " horizon_ns INTEGER NOT NULL, realised_return REAL, score REAL, p_up REAL,"
            " forecast_value REAL, policy_value REAL, sentiment_value REAL, hit INTEGER",
            "signal_id",
            ages_by="ts_close",
        ),
        Table(
            "bars",
            "symbol TEXT NOT NULL, interval INTEGER NOT NULL, ts_close INTEGER NOT NULL,"
            " open REAL, high REAL, low REAL, close REAL, volume REAL, trades INTEGER,"
            " quotes INTEGER, vwap REAL, spread REAL, imbalance REAL, quality TEXT NOT NULL,"
            " session_index INTEGER, session_left INTEGER, session_fraction REAL",
            "symbol, ts_close",
            ages_by="ts_close",
        ),
        Table(
            "rejections",
            "log_offset INTEGER NOT NULL, reason TEXT NOT NULL, symbol TEXT,"
            " ts_init INTEGER NOT NULL, payload",  # text where it is text, else bytes
            "log_offset, reason",
            ages_by="ts_init",
        ),
        Table(
            "gaps",
            "symbol TEXT NOT NULL, venue TEXT NOT NULL, first_id INTEGER NOT NULL,"
            " last_id INTEGER NOT NULL, ts_from INTEGER, ts_to INTEGER, filled INTEGER",
            "symbol, venue, first_id",
            ages_by="ts_to",
        ),
        Table(
            "notices",
            "log_offset INTEGER NOT NULL, after INTEGER NOT NULL, kind TEXT NOT NULL,"
            " body TEXT NOT NULL",  # JSON of the message named by kind
            "log_offset",
            ages_by="after",
        ),
        Table(
            "checkpoints",
            "ts_close INTEGER NOT NULL, stage TEXT NOT NULL, state BLOB NOT NULL",
            "ts_close, stage",
            ages_by="ts_close",
        ),
        Table("tallies", "key TEXT NOT NULL, name TEXT NOT NULL, count INTEGER", "key, name"),
        Table(
            "runs",
            "run_id TEXT NOT NULL, identity TEXT NOT NULL, started INTEGER NOT NULL,"
            " finished INTEGER, profile TEXT, settings TEXT, inputs TEXT, models TEXT,"
            " seconds REAL, stages TEXT",
            "run_id",
        ),
        Table("marks", "name TEXT NOT NULL, value INTEGER", "name"),  # see SqliteSink.snapshot
    )
}
