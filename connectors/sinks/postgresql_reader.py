"""Read the cold store's rows back, as they were written."""

from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from connectors.sinks.postgresql_layout import EITHER, IS_TEXT, JSON, LAYOUTS
from connectors.sinks.writers import Row

_AT_ONCE = 5_000  # rows that are held in memory


def read_rows(
    connection: psycopg.Connection[Any],
    table: str,
    *,
    since: int | None = None,
    until: int | None = None,
) -> Iterator[Row]:
    """Yield the rows of `table` in the order of its key: tuples equal to those written.

    With `since` or `until` (ns) only those whose time lies in [since, until), by the column that
    the table ages by, and those without that time. All of a large table is sorted first: give
    the connection's settings patience for that.

    Raises:
        psycopg.Error: as psycopg does.
    """
    layout = LAYOUTS[table]
    columns = [
        sql.SQL("{}::text" if column.type == JSON else "{}").format(sql.Identifier(column.name))
        for column in layout.columns
    ]
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(columns), sql.Identifier(layout.name)
    )
    bounds = [(">=", since), ("<", until)]
    given = [(sign, value) for sign, value in bounds if value is not None]
    if given and layout.table.ages_by is not None:
        time = sql.Identifier(layout.table.ages_by)
        query += sql.SQL(" WHERE ") + sql.SQL(" AND ").join(
            sql.SQL("({0} IS NULL OR {0} {1} {2})").format(time, sql.SQL(sign), sql.Literal(value))
            for sign, value in given
        )
    query += sql.SQL(" ORDER BY ") + sql.SQL(", ").join(
        # As in the warm store: text before bytes.
        sql.SQL("{} DESC, {}" if name == EITHER else "{1}").format(
            sql.Identifier(IS_TEXT), sql.Identifier(name)
        )
        for name in layout.table.key.split(", ")
    )
    with (
        connection.transaction(),
        connection.cursor(name=f"read_{table}", binary=True) as cursor,
    ):
        cursor.itersize = _AT_ONCE
        for values in cursor.execute(query):
            yield layout.row(values)
