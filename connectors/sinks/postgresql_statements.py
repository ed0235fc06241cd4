"""The cold store's SQL: a batch is copied into a staging table, then upserted from there."""

from collections.abc import Iterable
from functools import cache

from psycopg import sql

from connectors.sinks.postgresql_layout import TEXT, Column, Layout


@cache
def staging(layout: Layout) -> sql.Composed:
    """Make the table that batches are copied into; it is empty after each transaction."""
    return sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DELETE ROWS").format(
        _staged(layout), sql.SQL(", ").join(map(_defined, layout.columns))
    )


@cache
def copying(layout: Layout) -> sql.Composed:
    """Copy rows into the staging table."""
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
        _staged(layout), _names(column.name for column in layout.columns)
    )


@cache
def upserting(layout: Layout) -> sql.Composed:
    """Write what is staged, replacing what stands under the same key unless that is later.

    In the key's order: writers of the same rows then wait for one another, instead of each
    holding what the other wants.
    """
    names = [column.name for column in layout.columns]
    rest = [name for name in names if name not in {*layout.identity, *layout.key}]
    later_by = layout.table.later_by
    unless = sql.SQL(" WHERE excluded.{0} >= {1}.{0}").format(
        sql.Identifier(later_by or ""), sql.Identifier(layout.name)
    )
    return sql.SQL(
        "INSERT INTO {table} ({names}) SELECT {names} FROM {staged} ORDER BY {identity}"
        " ON CONFLICT ({key}) DO UPDATE SET {rest}{unless}"
    ).format(
        table=sql.Identifier(layout.name),
        staged=_staged(layout),
        names=_names(names),
        identity=_names(layout.identity),
        key=_names(layout.key),
        rest=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in rest
        ),
        unless=sql.SQL("") if later_by is None else unless,
    )


def _staged(layout: Layout) -> sql.Identifier:
    return sql.Identifier(f"staged_{layout.name}")


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _defined(column: Column) -> sql.Composed:
    kind = sql.Identifier(column.type)
    collated = ' COLLATE "C"' if column.type == TEXT else ""
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), kind, sql.SQL(collated))
