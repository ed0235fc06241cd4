"""What a store must do to be written to, and the three ways in which it may fail.

A `Writer` writes rows of the tables in `tables.py` to one store. `Drain` feeds it, and decides
by the error what to do next: wait, call a person, or put a row aside.
"""

from collections.abc import Sequence
from typing import Protocol

from connectors.sinks.sqlite import Row
from connectors.sinks.tables import TABLES
from operators.errors import EngineError

# (table, row) in the order in which they were made.
type Rows = Sequence[tuple[str, Row]]

__all__ = ["Row", "RowRefused", "Rows", "StoreDown", "StoreRefused", "Writer", "newest_close"]

# The tables whose rows tell how far event time has come, and the column that does.
_CLOSES = {name: TABLES[name].names.index("ts_close") for name in ("bars", "portfolio", "signals")}


def newest_close(rows: Rows) -> int:
    """Return the newest bar close that rows of a store tell of, in ns; 0 if none does."""
    return max((row[_CLOSES[table]] for table, row in rows if table in _CLOSES), default=0)


class StoreDown(EngineError):
    """A store that cannot be reached, or that answers "later": it is tried again."""


class StoreRefused(EngineError):
    """A store that a person must put right: password, permission, layout version, certificate."""


class RowRefused(EngineError):
    """A batch that the store refused for a value in it, although it took the connection."""


class Writer(Protocol):
    """One store, written by one thread.

    No error's text holds a password, a token or an address with a user's name in it.
    """

    name: str  # "redis", "postgresql", "influxdb", "sqlite"

    def connect(self) -> None:
        """Connect unless connected, and check the version of the store's layout.

        Raises StoreDown or StoreRefused.
        """

    def write(self, rows: Rows) -> None:
        """Write rows in order of time; the later of two rows of one key stands.

        They are durable in the store once it returns, and may be written any number of times.
        Raises StoreDown, after which `connect` starts afresh, StoreRefused or RowRefused.
        """

    def tidy(self, now: int) -> None:
        """Drop what is older than the store keeps; `now` is the newest bar's close, in ns.

        Called about once a minute of event time. Raises what `write` raises.
        """

    def close(self) -> None:
        """Let go of the store. Never raises."""
