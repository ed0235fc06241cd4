"""Partitions by day: made when a row needs one, dropped when the store keeps it no more."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg import Connection, errors, sql

from connectors.sinks.postgresql_layout import Layout
from operators.messages import SECOND

DAY = 86_400 * SECOND
LARGEST = 2**63 - 1  # of PostgreSQL's bigint
LOCK = 0x4E585447  # "NXTG": held by whoever changes tables, so that two do not make the same

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_log = structlog.get_logger(__name__)


def partition_name(table: str, day: int) -> str:
    """Name the partition of `table` for a day, counted from 1970.

    >>> partition_name("bars", 19_944)
    'bars_20240809'
    """
    return f"{table}_{_EPOCH + timedelta(days=day):%Y%m%d}"


def _day_of(name: str) -> int:
    return (datetime.strptime(f"{name[-8:]}+0000", "%Y%m%d%z") - _EPOCH).days


def _bounds(day: int) -> tuple[sql.Composable, sql.Composable]:
    """From and to, where bigint ends before the day does without an end."""
    low, high = day * DAY, (day + 1) * DAY
    return (
        sql.Literal(low) if low >= -LARGEST else sql.SQL("MINVALUE"),
        sql.Literal(high) if high <= LARGEST else sql.SQL("MAXVALUE"),
    )


def days_of(connection: Connection[Any], layout: Layout) -> Iterator[int]:
    """Yield the days, counted from 1970, that `layout` has a partition for."""
    found = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = %s::regclass",
        (layout.name,),
    )
    for (name,) in found.fetchall():
        yield _day_of(name)


def make_days(connection: Connection[Any], layout: Layout, days: Iterable[int]) -> None:
    """Make the partitions that are absent, each in a transaction of its own.

    Attached instead of made in place: that does not wait for readers of the table.
    """
    parent = sql.Identifier(layout.name)
    for day in sorted(days):
        name = partition_name(layout.name, day)
        low, high = _bounds(day)
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
            there = connection.execute("SELECT to_regclass(%s)", (name,)).fetchone()
            if there != (None,):
                continue
            made = {"part": sql.Identifier(name), "parent": parent, "low": low, "high": high}
            connection.execute(
                sql.SQL("CREATE TABLE {part} (LIKE {parent} INCLUDING ALL)").format(**made)
            )
            connection.execute(
                sql.SQL(
                    "ALTER TABLE {parent} ATTACH PARTITION {part}"
                    " FOR VALUES FROM ({low}) TO ({high})"
                ).format(**made)
            )


def forget(connection: Connection[Any], layout: Layout, before: int) -> None:
    """Drop what is older than `before` (ns): whole days, or rows where there are no days."""
    if layout.partitioned_by is None:
        if layout.table.ages_by is not None:
            connection.execute(
                sql.SQL("DELETE FROM {} WHERE {} < %s").format(
                    sql.Identifier(layout.name), sql.Identifier(layout.table.ages_by)
                ),
                (before,),
            )
        return
    for day in sorted(days_of(connection, layout)):
        if (day + 1) * DAY > before:
            break
        name = partition_name(layout.name, day)
        try:
            with connection.transaction():
                # Who waits for this lock makes all others wait for him; a reader that takes
                # long must not stop the writing, so the day is dropped another time.
                connection.execute("SET LOCAL lock_timeout = '1s'")
                connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
        except errors.LockNotAvailable:
            _log.warning("postgresql_partition_in_use", partition=name)
            return
        _log.info("postgresql_partition_dropped", partition=name)
