"""The warm store's tables: one place from which both DDL and upserts are written.

Every row has an identity (its primary key), so a message delivered twice is one row. Times
are UNIX nanoseconds UTC; JSON columns are written with sorted keys, so that repeated writes
are byte-identical.
"""

from dataclasses import dataclass

APPLICATION_ID = 0x4E585447  # "NXTG": tells our stores from other SQLite files
VERSION = 3  # of this layout; a store of another version is refused

_BAR = (
    "symbol TEXT NOT NULL, interval INTEGER NOT NULL, ts_close INTEGER NOT NULL,"
    " open REAL, high REAL, low REAL, close REAL, volume REAL, trades INTEGER,"
    " quotes INTEGER, vwap REAL, spread REAL, imbalance REAL, quality TEXT NOT NULL,"
    " session_index INTEGER, session_left INTEGER, session_fraction REAL"
)
# 0 or 1: whether the run's market was a simulator's. It stands in every row that could be
# taken for a result.
_SIMULATED = "simulated INTEGER NOT NULL"
_ALERT = (
    "fingerprint TEXT NOT NULL, ts_event INTEGER NOT NULL, state TEXT NOT NULL,"
    " alert_id TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL,"
    " subject TEXT NOT NULL, summary TEXT NOT NULL, facts TEXT NOT NULL, since INTEGER NOT NULL"
)  # facts are JSON


@dataclass(frozen=True)
class Table:
    """One table: its columns in the order rows are given, and the key that identifies a row.

    >>> for part in Table("marks", "name TEXT, value INTEGER", "name").upsert.split(" ON "):
    ...     print(part)
    INSERT INTO marks (name, value) VALUES (?, ?)
    CONFLICT (name) DO UPDATE SET value = excluded.value
    """

    name: str
    columns: str
    key: str
    ages_by: str | None = None  # the time column that retention looks at
    index: str | None = None
    # The column by which the later of two rows of one key is told; without it, the one written
    # later stands.
    later_by: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that a row gives, in order: all but those with a default."""
        columns = (column for column in self.columns.split(",") if " DEFAULT " not in column)
        return tuple(column.split()[0] for column in columns)

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
        """Write one row, replacing what stood under its key unless that is later."""
        marks = ", ".join("?" * len(self.names))
        keys = self.key.split(", ")
        rest = ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in keys)
        later = self.later_by
        unless = "" if later is None else f" WHERE excluded.{later} >= {self.name}.{later}"
        return (  # names and keys are the constants below
            f"INSERT INTO {self.name} ({', '.join(self.names)}) VALUES ({marks}) "  # noqa: S608
            f"ON CONFLICT ({self.key}) DO UPDATE SET {rest}{unless}"
        )


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "signals",
            "signal_id TEXT NOT NULL, symbol TEXT NOT NULL, ts_close INTEGER NOT NULL,"
            " interval INTEGER NOT NULL, action TEXT NOT NULL, score REAL, confidence REAL,"
            " target_position REAL, approved INTEGER NOT NULL, price REAL,"
            f" reasons TEXT NOT NULL, detail TEXT NOT NULL, {_SIMULATED}",  # JSON the first two
            "signal_id",
            ages_by="ts_close",
            index="ts_close, symbol",
        ),
        Table(
            "portfolio",
            "ts_close INTEGER NOT NULL, cash REAL, equity REAL, gross REAL, net REAL,"
            " drawdown REAL, var_95 REAL, var_99 REAL, costs REAL, trades INTEGER,"
            " buy_and_hold REAL, stopped INTEGER, holdings TEXT NOT NULL, risk TEXT NOT NULL,"
            f" {_SIMULATED}",
            "ts_close",
            ages_by="ts_close",
        ),
        Table(
            "outcomes",
            "signal_id TEXT NOT NULL, symbol TEXT NOT NULL, ts_close INTEGER NOT NULL,"
            " horizon_ns INTEGER NOT NULL, realised_return REAL, score REAL, p_up REAL,"
            " forecast_value REAL, policy_value REAL, sentiment_value REAL, hit INTEGER,"
            f" {_SIMULATED}",
            "signal_id",
            ages_by="ts_close",
        ),
        # As they were when they closed, which is what was decided on.
        Table(
            "bars",
            f"{_BAR}, {_SIMULATED}",
            "symbol, ts_close",
            ages_by="ts_close",
            index="ts_close",
        ),
        # As they became known later: each form from the cross-section at `known_at` on.
        Table(
            "repaired_bars",
            f"{_BAR}, known_at INTEGER NOT NULL, {_SIMULATED}",
            "symbol, ts_close, known_at",
            ages_by="ts_close",
            index="ts_close",
        ),
        Table(
            "rejections",
            "log_offset INTEGER NOT NULL, reason TEXT NOT NULL, symbol TEXT,"
            # Text where it is text, else bytes; one entry may hold several that are refused.
            " ts_init INTEGER NOT NULL, payload",
            "log_offset, reason, payload",
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
            "holes",
            "feed TEXT NOT NULL, symbol TEXT NOT NULL, cause TEXT NOT NULL,"
            " ts_from INTEGER NOT NULL, ts_to INTEGER, state TEXT NOT NULL,"
            " found_at INTEGER NOT NULL, resolved_at INTEGER, first_id INTEGER,"
            " last_id INTEGER, trades INTEGER NOT NULL, note TEXT NOT NULL,"
            " log_offset INTEGER NOT NULL",
            "feed, symbol, ts_from",
            ages_by="ts_to",  # none while it is open: such a row stays
            later_by="log_offset",
        ),
        Table(
            "switches",
            "symbol TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,"
            " cause TEXT NOT NULL, ts_event INTEGER NOT NULL, log_offset INTEGER NOT NULL",
            "symbol, ts_event, log_offset",
            ages_by="ts_event",
        ),
        Table(
            "feeds",  # how each feed of a live run does; see connectors/sinks/health.py
            "feed TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL, note TEXT NOT NULL,"
            " counts TEXT NOT NULL, gauges TEXT NOT NULL",  # JSON both
            "feed",
            later_by="at",
        ),
        Table(
            "notices",
            "log_offset INTEGER NOT NULL, after INTEGER NOT NULL, kind TEXT NOT NULL,"
            " body TEXT NOT NULL",  # JSON of the message named by kind
            "log_offset",
            ages_by="after",
        ),
        # What the stream gives rise to: a replay gives the same.
        Table(
            "alerts",
            f"{_ALERT}, {_SIMULATED}",
            "fingerprint, ts_event, state",
            ages_by="ts_event",
            index="ts_event",
        ),
        # The same of what is watched beside the stream: the process, and delivery itself.
        Table(
            "process_alerts",
            f"{_ALERT}, {_SIMULATED}",
            "fingerprint, ts_event, state",
            ages_by="ts_event",
        ),
        Table(
            "deliveries",  # messages to people; see connectors/alerts
            "delivery_id TEXT NOT NULL, target TEXT NOT NULL, severity TEXT NOT NULL,"
            " made_at INTEGER NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL,"
            " alerts INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,"
            " tried_at INTEGER, error TEXT NOT NULL",
            "delivery_id",
            ages_by="made_at",
            index="target, state",
        ),
        Table(
            "routed_alerts",  # what became of each alert at each target
            "event_id TEXT NOT NULL, target TEXT NOT NULL, outcome TEXT NOT NULL,"
            " at INTEGER NOT NULL",
            "event_id, target",
            ages_by="at",
        ),
        Table(
            "silences",
            "silence_id TEXT NOT NULL, rule TEXT NOT NULL, severity TEXT NOT NULL,"
            " subject TEXT NOT NULL, made_at INTEGER NOT NULL, until INTEGER NOT NULL,"
            " actor TEXT NOT NULL, reason TEXT NOT NULL",
            "silence_id",
            ages_by="until",
        ),
        Table(
            "acknowledgements",
            "alert_id TEXT NOT NULL, fingerprint TEXT NOT NULL, at INTEGER NOT NULL,"
            " actor TEXT NOT NULL",
            "alert_id",
            ages_by="at",
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
            " seconds REAL, stages TEXT,"
            # Set by the sink, which is told what it stores.
            " simulated INTEGER NOT NULL DEFAULT 0",
            "run_id",
        ),
        Table("marks", "name TEXT NOT NULL, value INTEGER", "name"),  # see SqliteSink.snapshot
        # What retention has dropped, in counts, so that the accounting still closes.
        Table("forgotten", "name TEXT NOT NULL, count INTEGER NOT NULL", "name"),
    )
}

_COLUMNS = ", ".join(TABLES["bars"].names)

_OF_ALERTS = ", ".join(TABLES["alerts"].names)

VIEWS: dict[str, str] = {
    "all_alerts": (
        f"SELECT {_OF_ALERTS}, 'stream' AS source FROM alerts "  # noqa: S608
        f"UNION ALL SELECT {_OF_ALERTS}, 'process' AS source FROM process_alerts"
    ),
    # Each bar once, in the form that was known last; `known_at` is `ts_close` if none followed.
    "final_bars": (
        f"SELECT {_COLUMNS}, ts_close AS known_at FROM bars WHERE NOT EXISTS "  # noqa: S608
        "(SELECT 1 FROM repaired_bars AS later WHERE later.symbol = bars.symbol"
        " AND later.ts_close = bars.ts_close) "
        f"UNION ALL SELECT {_COLUMNS}, known_at FROM repaired_bars AS form WHERE known_at = "
        "(SELECT max(known_at) FROM repaired_bars AS later WHERE later.symbol = form.symbol"
        " AND later.ts_close = form.ts_close)"
    ),
}
