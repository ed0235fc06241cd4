"""The first layout. Text sorts by its bytes; tables with days get them as rows come."""

from alembic import op

revision = "0001"
down_revision = None

_BAR = """
    symbol text COLLATE "C" NOT NULL,
    interval bigint NOT NULL,
    ts_close bigint NOT NULL,
    open double precision,
    high double precision,
    low double precision,
    close double precision,
    volume double precision,
    trades bigint,
    quotes bigint,
    vwap double precision,
    spread double precision,
    imbalance double precision,
    quality text COLLATE "C" NOT NULL,
    session_index bigint,
    session_left bigint,
    session_fraction double precision
"""

_STATEMENTS = (
    """
    CREATE TABLE signals (
        signal_id text COLLATE "C" NOT NULL,
        symbol text COLLATE "C" NOT NULL,
        ts_close bigint NOT NULL,
        interval bigint NOT NULL,
        action text COLLATE "C" NOT NULL,
        score double precision,
        confidence double precision,
        target_position double precision,
        approved bigint NOT NULL,
        price double precision,
        reasons json NOT NULL,
        detail json NOT NULL,
        simulated bigint NOT NULL,
        PRIMARY KEY (signal_id, ts_close)
    ) PARTITION BY RANGE (ts_close)
    """,
    "CREATE INDEX signals_by_ts_close_symbol ON signals (ts_close, symbol)",
    """
    CREATE TABLE portfolio (
        ts_close bigint NOT NULL,
        cash double precision,
        equity double precision,
        gross double precision,
        net double precision,
        drawdown double precision,
        var_95 double precision,
        var_99 double precision,
        costs double precision,
        trades bigint,
        buy_and_hold double precision,
        stopped bigint,
        holdings json NOT NULL,
        risk json NOT NULL,
        simulated bigint NOT NULL,
        PRIMARY KEY (ts_close)
    ) PARTITION BY RANGE (ts_close)
    """,
    """
    CREATE TABLE outcomes (
        signal_id text COLLATE "C" NOT NULL,
        symbol text COLLATE "C" NOT NULL,
        ts_close bigint NOT NULL,
        horizon_ns bigint NOT NULL,
        realised_return double precision,
        score double precision,
        p_up double precision,
        forecast_value double precision,
        policy_value double precision,
        sentiment_value double precision,
        hit bigint,
        simulated bigint NOT NULL,
        PRIMARY KEY (signal_id, ts_close)
    ) PARTITION BY RANGE (ts_close)
    """,
    f"""
    CREATE TABLE bars (
        {_BAR},
        simulated bigint NOT NULL,
        PRIMARY KEY (symbol, ts_close)
    ) PARTITION BY RANGE (ts_close)
    """,
    "CREATE INDEX bars_by_ts_close ON bars (ts_close)",
    f"""
    CREATE TABLE repaired_bars (
        {_BAR},
        known_at bigint NOT NULL,
        simulated bigint NOT NULL,
        PRIMARY KEY (symbol, ts_close, known_at)
    ) PARTITION BY RANGE (ts_close)
    """,
    "CREATE INDEX repaired_bars_by_ts_close ON repaired_bars (ts_close)",
    """
    CREATE TABLE rejections (
        log_offset bigint NOT NULL,
        reason text COLLATE "C" NOT NULL,
        symbol text COLLATE "C",
        ts_init bigint NOT NULL,
        payload bytea NOT NULL,
        payload_is_text boolean NOT NULL,
        payload_hash bytea NOT NULL GENERATED ALWAYS AS (sha256(payload)) STORED,
        PRIMARY KEY (log_offset, reason, payload_hash, payload_is_text, ts_init)
    ) PARTITION BY RANGE (ts_init)
    """,
    """
    CREATE TABLE gaps (
        symbol text COLLATE "C" NOT NULL,
        venue text COLLATE "C" NOT NULL,
        first_id bigint NOT NULL,
        last_id bigint NOT NULL,
        ts_from bigint,
        ts_to bigint,
        filled bigint,
        PRIMARY KEY (symbol, venue, first_id)
    )
    """,
    """
    CREATE TABLE holes (
        feed text COLLATE "C" NOT NULL,
        symbol text COLLATE "C" NOT NULL,
        cause text COLLATE "C" NOT NULL,
        ts_from bigint NOT NULL,
        ts_to bigint,
        state text COLLATE "C" NOT NULL,
        found_at bigint NOT NULL,
        resolved_at bigint,
        first_id bigint,
        last_id bigint,
        trades bigint NOT NULL,
        note text COLLATE "C" NOT NULL,
        log_offset bigint NOT NULL,
        PRIMARY KEY (feed, symbol, ts_from)
    )
    """,
    """
    CREATE TABLE switches (
        symbol text COLLATE "C" NOT NULL,
        before text COLLATE "C" NOT NULL,
        after text COLLATE "C" NOT NULL,
        cause text COLLATE "C" NOT NULL,
        ts_event bigint NOT NULL,
        log_offset bigint NOT NULL,
        PRIMARY KEY (symbol, ts_event, log_offset)
    ) PARTITION BY RANGE (ts_event)
    """,
    """
    CREATE TABLE notices (
        log_offset bigint NOT NULL,
        after bigint NOT NULL,
        kind text COLLATE "C" NOT NULL,
        body json NOT NULL,
        PRIMARY KEY (log_offset, after)
    ) PARTITION BY RANGE (after)
    """,
    """
    CREATE TABLE checkpoints (
        ts_close bigint NOT NULL,
        stage text COLLATE "C" NOT NULL,
        state bytea NOT NULL,
        PRIMARY KEY (ts_close, stage)
    ) PARTITION BY RANGE (ts_close)
    """,
    """
    CREATE TABLE tallies (
        key text COLLATE "C" NOT NULL,
        name text COLLATE "C" NOT NULL,
        count bigint,
        PRIMARY KEY (key, name)
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)
