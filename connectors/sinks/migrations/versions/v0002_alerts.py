"""Alerts of the stream."""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    """
    CREATE TABLE alerts (
        fingerprint text COLLATE "C" NOT NULL,
        ts_event bigint NOT NULL,
        state text COLLATE "C" NOT NULL,
        alert_id text COLLATE "C" NOT NULL,
        rule text COLLATE "C" NOT NULL,
        severity text COLLATE "C" NOT NULL,
        subject text COLLATE "C" NOT NULL,
        summary text COLLATE "C" NOT NULL,
        facts json NOT NULL,
        since bigint NOT NULL,
        simulated bigint NOT NULL,
        PRIMARY KEY (fingerprint, ts_event, state)
    ) PARTITION BY RANGE (ts_event)
    """,
    "CREATE INDEX alerts_by_ts_event ON alerts (ts_event)",
)


def upgrade() -> None:
    """Make the table."""
    for statement in _STATEMENTS:
        op.execute(statement)
