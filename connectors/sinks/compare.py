"""Do two tiers hold the same rows? Read side by side in order of key, holding one row of each."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from connectors.sinks.sqlite import Row
from connectors.sinks.tables import TABLES, Table
from operators.errors import StoreError

SHOWN = 5  # keys of each kind that a report names

type Key = tuple[Any, ...]


class Difference(NamedTuple):
    """A key under which two tiers differ."""

    kind: Literal["missing", "extra", "different"]
    key: Key
    row: Row | None = None  # the first tier's, unless it is the second that has one too many
    columns: tuple[str, ...] = ()  # in which they are different


@dataclass
class Comparison:
    """What came of comparing one table of two tiers, the first of which is taken for right."""

    table: str
    equal: int = 0
    missing: int = 0  # in the first only
    extra: int = 0  # in the second only
    different: int = 0
    columns: dict[str, int] = field(default_factory=dict)  # rows that differ in each
    # The first few keys of each kind.
    missing_keys: list[Key] = field(default_factory=list)
    extra_keys: list[Key] = field(default_factory=list)
    different_keys: list[Key] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether both hold the same."""
        return not (self.missing or self.extra or self.different)

    def add(self, found: Difference | None) -> None:
        """Count a key: where they differ, or (None) one that both hold alike."""
        match found:
            case None:
                self.equal += 1
                return
            case Difference("missing"):
                self.missing += 1
                keys = self.missing_keys
            case Difference("extra"):
                self.extra += 1
                keys = self.extra_keys
            case _:
                self.different += 1
                keys = self.different_keys
        if len(keys) < SHOWN:
            keys.append(found.key)
        for name in found.columns:
            self.columns[name] = self.columns.get(name, 0) + 1


def compare(
    first: Iterable[Row],
    second: Iterable[Row],
    table: str,
    *,
    since: int | None = None,
    until: int | None = None,
) -> Comparison:
    """Compare the rows of `table` in two tiers, as `differences` does.

    Raises:
        StoreError: rows are not in order, or a key comes twice.
    """
    told = Comparison(table)
    for found in differences(first, second, table, since=since, until=until):
        told.add(found)
    return told


def differences(
    first: Iterable[Row],
    second: Iterable[Row],
    table: str,
    *,
    since: int | None = None,
    until: int | None = None,
) -> Iterator[Difference | None]:
    """Yield for each key of `table` in two tiers how they differ, None where they do not.

    Rows are tuples as `rows_of` makes them, in ascending order of key; with `since` and `until`
    (ns) only those count whose aging time is in [since, until), and those without one. Values
    are equal where type and value are. NaN equals null, which the warm store keeps in its place.

    Raises:
        StoreError: rows are not in order, or a key comes twice.
    """
    of = TABLES[table]
    left, right = (
        _in_order(_within(rows, of, since, until), of, place)
        for place, rows in (("first", first), ("second", second))
    )
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield Difference("missing", _plain(one[0]), one[1])
            one = next(left, None)
        elif one is None or other[0] < one[0]:
            yield Difference("extra", _plain(other[0]))
            other = next(right, None)
        else:
            yield _judge(of, one, other)
            one, other = next(left, None), next(right, None)


def stored_rows(
    store: sqlite3.Connection, table: str, *, since: int | None = None, until: int | None = None
) -> Iterator[Row]:
    """Yield the rows of a warm store in order of key, as `compare` takes them.

    `since` and `until` bound the aging time as there.
    """
    of = TABLES[table]
    where, bounds = [], []
    for sign, bound in ((">=", since), ("<", until)):
        if of.ages_by is not None and bound is not None:
            where.append(f"({of.ages_by} IS NULL OR {of.ages_by} {sign} ?)")
            bounds.append(bound)
    query = f"SELECT {', '.join(of.names)} FROM {table}"  # noqa: S608 - names are ours
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    for row in store.execute(f"{query}{condition} ORDER BY {of.key}", bounds):
        yield tuple(row)


def _within(
    rows: Iterable[Row], table: Table, since: int | None, until: int | None
) -> Iterator[Row]:
    place = None if table.ages_by is None else table.names.index(table.ages_by)
    for row in rows:
        at = None if place is None else row[place]
        if at is None or ((since is None or since <= at) and (until is None or at < until)):
            yield row


type _Keyed = tuple[Key, Row]


def _in_order(rows: Iterable[Row], table: Table, place: str) -> Iterator[_Keyed]:
    """Yield rows with keys that can be compared, if they rise."""
    places = [table.names.index(name) for name in table.key.split(", ")]
    last: Key | None = None
    for row in rows:
        key = tuple(_rank(row[each]) for each in places)
        if last is not None and key <= last:
            raise StoreError(
                f"expected rows of {table.name} in order of {table.key} in the {place} store, "
                f"found {_plain(key)} behind {_plain(last)}; both must be sorted by code point"
            )
        last = key
        yield key, row


def _rank(value: Any) -> tuple[int, Any]:
    """Order values as SQLite does: numbers, text, bytes."""
    return (2 if isinstance(value, bytes) else int(isinstance(value, str))), value


def _plain(key: Key) -> Key:
    return tuple(value for _, value in key)


def _judge(table: Table, one: _Keyed, other: _Keyed) -> Difference | None:
    differ = tuple(
        name
        for name, left, right in zip(table.names, one[1], other[1], strict=True)
        if not _is_equal(_number(left), _number(right))
    )
    return Difference("different", _plain(one[0]), one[1], differ) if differ else None


def _is_equal(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _number(value: Any) -> Any:
    return None if value != value else value  # noqa: PLR0124 - NaN
